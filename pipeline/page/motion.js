// Motion parameters: one Float32Array per name, as in pipeline/motion.py.

/** A copy. */
const copied = (motion) => Object.fromEntries(Object.entries(motion).map(([name, values]) => [name, values.slice()]));

/** The driver's motion as the target's parameters; see `transferred` in pipeline/motion.py. */
function transferred(motion, own, target, how) {
  const result = copied(motion);
  if (how === "direct") return result;
  for (const name of ["pose", "expression", "gaze"])
    result[name] = motion[name].map((value, i) => value - own[name][i] + target[name][i]);
  if (!target.position) return result; // a portrait without
  const ratio = target.position[2] / own.position[2];
  result.position = motion.position.map((value, i) =>
    i < 2 ? (value - own.position[i]) * ratio + target.position[i] : value * ratio);
  return result;
}

/** `motion` moved along each slider's direction by its value. */
function moved(motion, sliders, values) {
  const result = copied(motion);
  sliders.forEach(({ direction }, k) => {
    for (const [name, steps] of Object.entries(direction))
      if (result[name]) steps.forEach((step, i) => { result[name][i] += values[k] * step; });
  });
  return result;
}
