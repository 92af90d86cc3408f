// A socket that sends what no client would: frames as they are given.

import { once } from "node:events";

import WebSocket from "ws";

import { eventually } from "./wait.mjs";

const ANSWER_MS = 10_000;

/** A Channels connection, version 2. A frame that was read once is not read again. */
export class RawSocket {
  #frames = [];
  #joins = new Map();
  #refs = 0;
  #socket;

  /** Connects; the connection ends with the test. */
  static async open(t, server) {
    const raw = new RawSocket(new WebSocket(`${server.socketUrl}/websocket?vsn=2.0.0`));
    t.after(() => raw.#socket.terminate());
    await once(raw.#socket, "open");
    return raw;
  }

  constructor(socket) {
    this.#socket = socket;
    /** The code that the connection was closed with. */
    this.closed = new Promise((resolve) => socket.once("close", resolve));
    socket.on("message", (bytes, isBinary) => this.#frames.push(isBinary ? bytes : JSON.parse(bytes)));
  }

  /** Sends a text as a text frame and bytes as a binary one. */
  send(frame) {
    this.#socket.send(frame);
  }

  /** Sends bytes as a text frame. */
  sendBytesAsText(bytes) {
    this.#socket.send(bytes, { binary: false });
  }

  /** Takes the first frame, past or future, for which `matches` holds; a binary one is a Buffer. */
  next(what, matches) {
    return eventually(what, ANSWER_MS, () => {
      const at = this.#frames.findIndex(matches);
      return at >= 0 && this.#frames.splice(at, 1)[0];
    });
  }

  /** A request; answers `{status, response}`. A join is its own join_ref. */
  ask(topic, event, payload) {
    const ref = `${++this.#refs}`;
    if (event === "phx_join") this.#joins.set(topic, ref);
    this.send(JSON.stringify([this.#joins.get(topic) ?? null, ref, topic, event, payload]));
    return this.#answer(ref);
  }

  /** A request whose payload is bytes. */
  askBinary(topic, event, bytes) {
    const ref = `${++this.#refs}`;
    const texts = [this.#joins.get(topic) ?? "", ref, topic, event];
    const names = texts.map((text) => Buffer.from(text));
    const lengths = Buffer.from([0, ...names.map((name) => name.length)]);
    this.send(Buffer.concat([lengths, ...names, bytes]));
    return this.#answer(ref);
  }

  join(topic, params = {}) {
    return this.ask(topic, "phx_join", params);
  }

  /** The connection is alive: a heartbeat is answered. */
  async beats() {
    await this.ask("phoenix", "heartbeat", {});
  }

  async #answer(ref) {
    const isReply = ([, of, , event]) => of === ref && event === "phx_reply";
    return (await this.next(`an answer to ${ref}`, isReply))[4];
  }
}
