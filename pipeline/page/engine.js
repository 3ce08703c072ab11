// A worker that runs networks: `open` loads them, `run` calls one. One worker holds one onnxruntime.
let ort;
const networks = {};

async function open({ library, wasm, threads, provider, models }) {
  ort = await import(URL.createObjectURL(new Blob([library], { type: "text/javascript" })));
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.wasmBinary = wasm;
  if (provider === "webgpu") {
    const adapter = await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" });
    if (!adapter) throw new Error("no graphics adapter");
  }
  for (const [name, bytes] of Object.entries(models))
    networks[name] = await ort.InferenceSession.create(bytes, { executionProviders: [provider], logSeverityLevel: 3 });
}

async function run({ model, inputs }) {
  const feeds = {};
  for (const [name, { data, dims }] of Object.entries(inputs))
    feeds[name] = new ort.Tensor(data instanceof Uint8Array ? "uint8" : "float32", data, dims);
  const found = await networks[model].run(feeds);
  const outputs = {};
  for (const [name, tensor] of Object.entries(found)) outputs[name] = await tensor.getData();
  return outputs;
}

async function answer({ data: { id, task, value } }) {
  try {
    const result = await (task === "open" ? open(value) : run(value));
    self.postMessage({ id, result });
  } catch (error) {
    self.postMessage({ id, error: String(error?.message ?? error) });
  }
}

// One at a time: two runs of one network at once hang on WebGPU.
let last = Promise.resolve();
self.onmessage = (message) => { last = last.then(() => answer(message)); };
