// The bytes of Channels messages, in both directions, written from the rules alone.

/** Version 2: an array of five. Version 1: an object of four, and join_ref when there is one. */
export function encodeText(vsn, { join_ref, ref, topic, event, payload }) {
  if (vsn.startsWith("2")) return JSON.stringify([join_ref, ref, topic, event, payload]);
  return JSON.stringify({ topic, event, payload, ref });
}

/** A binary push of a client: five bytes of header, four strings, the payload. */
export function encodePush({ join_ref, ref, topic, event, payload }, kind = 0) {
  const names = [join_ref ?? "", ref ?? "", topic, event].map((name) => Buffer.from(name));
  const header = Buffer.from([kind, ...names.map((name) => name.length)]);
  return Buffer.concat([header, ...names, Buffer.from(payload)]);
}

/** What the server sent, as `{join_ref, ref, topic, event, payload, form}`. */
export function decodeText(vsn, text) {
  const value = JSON.parse(text);
  if (vsn.startsWith("2")) {
    if (!Array.isArray(value) || value.length !== 5) throw new Error(`not an array of 5: ${text}`);
    const [join_ref, ref, topic, event, payload] = value;
    return { join_ref, ref, topic, event, payload, form: "text" };
  }
  const keys = Object.keys(value).sort().join();
  if (keys !== "event,payload,ref,topic") throw new Error(`not the four keys of vsn 1: ${text}`);
  return { ...value, join_ref: null, form: "text" };
}

const FIELDS = {
  0: ["join_ref", "topic", "event"],
  1: ["join_ref", "ref", "topic", "status"],
  2: ["topic", "event"],
};

/** A binary frame of the server: a push (0), a reply (1) or a broadcast (2). */
export function decodeBinary(bytes) {
  const kind = bytes[0];
  const fields = FIELDS[kind];
  if (!fields) throw new Error(`binary frame of kind ${kind}`);
  const frame = { join_ref: null, ref: null, form: "binary", kind };
  let at = 1 + fields.length;
  fields.forEach((field, n) => {
    const end = at + bytes[1 + n];
    if (end > bytes.length) throw new Error("a binary frame that ends inside its names");
    frame[field] = bytes.subarray(at, end).toString("utf8");
    at = end;
  });
  frame.payload = Buffer.from(bytes.subarray(at));
  return kind === 1 ? { ...frame, event: "phx_reply" } : frame;
}

/** Whether a frame answers this request. */
export function isReply(ref, topic) {
  return (frame) =>
    frame.event === "phx_reply" && frame.ref === ref && (!topic || frame.topic === topic);
}

/** `[join_ref, ref, topic, event, payload]`, to compare a whole frame at once. */
export function five({ join_ref, ref, topic, event, payload }) {
  return [join_ref, ref, topic, event, payload];
}
