// One WebSocket connection that says exactly what a case wants, and keeps all it hears.

import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";

import WebSocket from "ws";

import { decodeBinary, decodeText, encodePush, encodeText, isReply } from "./frames.mjs";

/** The server answered the upgrade with an HTTP status. */
export class Refused extends Error {
  constructor(status) {
    super(`the upgrade was refused with HTTP status ${status}`);
    this.status = status;
  }
}

export class Socket {
  /** Every frame ever heard, in order. */
  heard = [];
  /** What was wrong with frames that could not be read. */
  unreadable = [];
  #unread = [];
  #waiting = new Set();
  #refs = 0;
  #ws;

  /** `params` go into the query; `vsn` null sends none. */
  static async open({ url, vsn, params = {}, protocols, headers, timeout }) {
    const address = new URL(`${url.replace(/\/$/, "")}/websocket`);
    for (const [name, value] of Object.entries(params)) address.searchParams.set(name, value);
    if (vsn !== null) address.searchParams.set("vsn", vsn);
    const ws = new WebSocket(address, protocols ?? [], {
      headers,
      perMessageDeflate: false,
      handshakeTimeout: timeout,
    });
    const socket = new Socket(ws, vsn ?? "1.0.0", timeout);
    await new Promise((opened, failed) => {
      ws.once("open", opened);
      ws.once("error", failed);
      ws.once("unexpected-response", (request, response) => {
        response.resume();
        request.destroy();
        failed(new Refused(response.statusCode));
      });
    });
    return socket;
  }

  constructor(ws, vsn, timeout) {
    this.#ws = ws;
    this.vsn = vsn;
    this.timeout = timeout;
    this.isOpen = true;
    /** Settles with `{code, reason}` when the connection is over. */
    this.closed = new Promise((resolve) => {
      ws.on("close", (code, reason) => {
        this.isOpen = false;
        this.closeCode = code;
        resolve({ code, reason: `${reason}` });
        this.#look();
      });
    });
    ws.on("error", () => {});
    ws.on("message", (bytes, isBinary) => this.#take(bytes, isBinary));
  }

  /** The subprotocol that the server chose; empty if none. */
  get protocol() {
    return this.#ws.protocol;
  }

  /** A ref that was not used on this socket before. */
  ref() {
    return `${++this.#refs}`;
  }

  /** Sends a message as text; a payload of bytes as a binary push. */
  send(message) {
    if (message.payload instanceof Uint8Array) this.sendRaw(encodePush(message));
    else this.sendRaw(encodeText(this.vsn, message));
  }

  /** Sends a text frame for a string and a binary one for bytes. */
  sendRaw(data, options = {}) {
    this.#ws.send(data, { binary: typeof data !== "string", ...options });
  }

  /** Sends a request and takes its answer. */
  async ask(topic, event, payload = {}, { join_ref = null, ref = this.ref() } = {}) {
    this.send({ join_ref, ref, topic, event, payload });
    return this.next(`an answer to ${event} on ${topic}`, isReply(ref, topic));
  }

  /** Joins; answers the channel. The join_ref is the ref of the join unless one is given. */
  async join(topic, params = {}, { ref = this.ref(), join_ref = ref } = {}) {
    const reply = await this.ask(topic, "phx_join", params, { ref, join_ref });
    return new Channel(this, topic, join_ref, reply);
  }

  /** A heartbeat and its answer: what was sent before it has been read by the server. */
  async beat() {
    return this.ask("phoenix", "heartbeat");
  }

  /** Takes the first frame not yet taken, past or future, for which `matches` holds. */
  next(what, matches) {
    return new Promise((found, failed) => {
      const waiting = { matches, found, failed, what };
      waiting.timer = setTimeout(() => {
        this.#waiting.delete(waiting);
        failed(new Error(`not within ${this.timeout} ms: ${what}`));
      }, this.timeout);
      this.#waiting.add(waiting);
      this.#look();
    });
  }

  /** Frames that no `next` has taken. */
  untaken(matches = () => true) {
    return this.#unread.filter(matches);
  }

  ping(payload) {
    const answered = new Promise((resolve) => this.#ws.once("pong", resolve));
    this.#ws.ping(payload);
    return answered;
  }

  /** Closes as a client does that leaves the page. */
  close(code = 1000) {
    this.#ws.close(code);
    return this.closed;
  }

  /** Cuts the connection without a word. */
  cut() {
    this.#ws.terminate();
    return this.closed;
  }

  #take(bytes, isBinary) {
    try {
      const frame = isBinary ? decodeBinary(bytes) : decodeText(this.vsn, bytes.toString("utf8"));
      this.heard.push(frame);
      this.#unread.push(frame);
    } catch (error) {
      this.unreadable.push(error.message);
    }
    this.#look();
  }

  #look() {
    for (const waiting of this.#waiting) {
      const at = this.#unread.findIndex(waiting.matches);
      if (at < 0 && this.isOpen) continue;
      clearTimeout(waiting.timer);
      this.#waiting.delete(waiting);
      if (at >= 0) waiting.found(this.#unread.splice(at, 1)[0]);
      else waiting.failed(new Error(`closed with ${this.closeCode} before ${waiting.what}`));
    }
  }
}

/** A joined channel. */
export class Channel {
  constructor(socket, topic, join_ref, reply) {
    Object.assign(this, { socket, topic, join_ref, reply });
  }

  get status() {
    return this.reply.payload.status;
  }

  /** Pushes and takes the answer. */
  ask(event, payload = {}, options = {}) {
    return this.socket.ask(this.topic, event, payload, { join_ref: this.join_ref, ...options });
  }

  /** Pushes and waits for nothing; answers the ref. */
  push(event, payload = {}, ref = this.socket.ref()) {
    this.socket.send({ join_ref: this.join_ref, ref, topic: this.topic, event, payload });
    return ref;
  }

  leave() {
    return this.ask("phx_leave");
  }

  /** Takes the next frame of this topic with this event. */
  next(event) {
    const isWanted = (frame) => frame.topic === this.topic && frame.event === event;
    return this.socket.next(`${event} on ${this.topic}`, isWanted);
  }
}

/** A plain HTTP request to a WebSocket address; answers the status. */
export function plainRequest(url, { method = "GET", headers = {}, timeout }) {
  const address = new URL(url.replace(/^ws/, "http"));
  const request = address.protocol === "https:" ? httpsRequest : httpRequest;
  return new Promise((resolve, reject) => {
    const sent = request(address, { method, headers, timeout }, (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    sent.on("upgrade", (_response, socket) => {
      socket.destroy();
      resolve(101);
    });
    sent.on("timeout", () => sent.destroy(new Error(`no answer within ${timeout} ms`)));
    sent.on("error", reject);
    sent.end();
  });
}
