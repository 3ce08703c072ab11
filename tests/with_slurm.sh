#!/usr/bin/env bash
# Runs a command with a Slurm of its own: one machine, two fake GPUs, on loopback, gone when the command ends.
#   tests/with_slurm.sh COMMAND...
# A Slurm that serves this machine is left alone: configuration, keys, ports and state are this one's own, in a
# temporary folder. Everything runs as the caller; only installing Debian's packages, where they lack, needs root.
set -euo pipefail

export PATH=$PATH:/usr/sbin:/sbin
if ! { command -v munged && command -v slurmctld && command -v slurmd && command -v sbatch; } >/dev/null; then
    [ "$(id -u)" = 0 ] && sudo="" || sudo=sudo
    $sudo apt-get update -qq
    $sudo env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends munge slurmctld slurmd slurm-client >/dev/null
fi

folder=$(mktemp -d)
chmod 755 "$folder" # munge wants its socket within everyone's reach
read -r controller_port node_port < <(python3 -c '
import socket
ports = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(port.getsockname()[1] for port in ports))')
mkdir "$folder"/{controller,node,bin}
export SLURM_CONF=$folder/slurm.conf
# Snakemake's plugin takes SLURM_CONF away from the srun within a job: this one has it back.
printf '#!/bin/sh\nSLURM_CONF=%s exec %s "$@"\n' "$SLURM_CONF" "$(command -v srun)" >"$folder/bin/srun"
# Notes the GPUs that each job sees.
printf '#!/bin/sh\necho "$SLURM_JOB_ID $CUDA_VISIBLE_DEVICES" >>%s\n' "$folder/gpus" >"$folder/bin/prolog"
chmod +x "$folder"/bin/*
export PATH=$folder/bin:$PATH

cat >"$SLURM_CONF" <<CONF
ClusterName=own
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$controller_port
SlurmdPort=$node_port
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthInfo=socket=$folder/munge.socket
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation=$folder/controller
SlurmdSpoolDir=$folder/node
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
MailProg=/bin/true
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=5
ReturnToService=2
KillWait=5
MinJobAge=3600 # the test asks about jobs that have ended
GresTypes=gpu
TaskProlog=$folder/bin/prolog
# The machine claims the memory that real trainings ask for.
SlurmdParameters=config_overrides
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=100000 Gres=gpu:2
PartitionName=cpu Nodes=ALL Default=YES MaxTime=INFINITE
PartitionName=gpu Nodes=ALL MaxTime=INFINITE
CONF
# Devices that every machine has stand for GPUs, a different one each; with a file, jobs get CUDA_VISIBLE_DEVICES.
printf 'Name=gpu File=%s\n' /dev/null /dev/zero >"$folder/gres.conf"
# Slurm 22 knows no "disabled"; its v1 does nothing under the plugins above.
[[ $(slurmd -V) == *" 22."* ]] && cgroup=cgroup/v1 || cgroup=disabled
echo "CgroupPlugin=$cgroup" >"$folder/cgroup.conf"
(umask 077 && head -c 1024 /dev/urandom >"$folder/munge.key")

stop() {
    trap '' INT TERM # a second Ctrl-C must not leave daemons behind
    timeout 10 scancel --quiet --user="$(id -un)" || true
    for _ in $(seq 100); do
        left=$(timeout 5 squeue --noheader --states=running,completing 2>/dev/null) && [ -n "$left" ] || break
        sleep 0.2
    done
    kill $(jobs -p) 2>/dev/null || true
    wait
    rm -rf "$folder"
}
trap stop EXIT

# In sessions of their own, as Ctrl-C is for the command: `stop` needs the daemons.
setsid munged --foreground --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
    --seed-file="$folder/munge.seed" --log-file="$folder/munged.log" &>/dev/null &
for _ in $(seq 50); do
    [ -S "$folder/munge.socket" ] && break
    sleep 0.1
done
setsid slurmctld -D &>/dev/null &
setsid slurmd -D &>/dev/null &
for _ in $(seq 15); do
    timeout 2 sinfo --noheader --format=%T 2>/dev/null | grep -q idle && break
    sleep 1
done
timeout 5 sinfo | grep -q idle || {
    tail -n 5 "$folder"/*.log
    exit 1
}

OWN_SLURM=$folder "$@"
