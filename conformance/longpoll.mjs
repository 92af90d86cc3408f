// A long-poll session, request by request.

import { decodeText, encodePush, encodeText, isReply } from "./frames.mjs";

const TOKEN_HEADER = "x-phoenix-longpoll-token";

export class LongPoll {
  heard = [];
  #unread = [];
  #refs = 0;

  constructor({ url, vsn, params = {}, tokenIn = "query", timeout }) {
    Object.assign(this, { url, vsn: vsn ?? "1.0.0", params, tokenIn, timeout });
    if (vsn !== null) this.params = { ...params, vsn };
  }

  /** Opens a session and keeps its token. */
  async open() {
    const { body } = await this.get();
    if (body.status !== 410) throw new Error(`the first answer is ${JSON.stringify(body)}`);
    this.token = body.token;
    return this;
  }

  ref() {
    return `${++this.#refs}`;
  }

  /** One GET; answers `{http, headers, body}`. Its messages are kept. */
  async get(options = {}) {
    const answer = await this.request("GET", undefined, options);
    for (const text of answer.body?.messages ?? []) {
      const frame = decodeText(this.vsn, text);
      this.heard.push(frame);
      this.#unread.push(frame);
    }
    return answer;
  }

  /** One POST of these messages, as lines; version 1 knows no lines. */
  post(messages, options = {}) {
    if (this.vsn.startsWith("1")) {
      const [message] = messages;
      return this.postBody(encodeText(this.vsn, message), "application/json", options);
    }
    const lines = messages.map((message) =>
      message.payload instanceof Uint8Array
        ? encodePush(message).toString("base64")
        : encodeText(this.vsn, message),
    );
    return this.postBody(lines.join("\n"), "application/x-ndjson", options);
  }

  postBody(body, contentType, options = {}) {
    return this.request("POST", body, { contentType, ...options });
  }

  async request(method, body, { token = this.token, tokenIn = this.tokenIn, ...more } = {}) {
    const address = new URL(this.url);
    for (const [name, value] of Object.entries(this.params)) address.searchParams.set(name, value);
    const headers = { ...more.headers };
    if (more.contentType) headers["content-type"] = more.contentType;
    if (token !== undefined && tokenIn === "query") address.searchParams.set("token", token);
    if (token !== undefined && tokenIn === "header") headers[TOKEN_HEADER] = token;
    if (more.queryToken !== undefined) address.searchParams.set("token", more.queryToken);
    const signal = AbortSignal.timeout(this.timeout + (more.patience ?? 0));
    const answer = await fetch(address, { method, headers, body, signal });
    const text = await answer.text();
    const isJson = answer.headers.get("content-type")?.includes("json");
    return {
      http: answer.status,
      headers: answer.headers,
      body: isJson && text ? JSON.parse(text) : text,
    };
  }

  /** Polls until a frame comes for which `matches` holds, and takes it. */
  async next(what, matches) {
    const deadline = Date.now() + this.timeout;
    for (;;) {
      const at = this.#unread.findIndex(matches);
      if (at >= 0) return this.#unread.splice(at, 1)[0];
      if (Date.now() > deadline) throw new Error(`not within ${this.timeout} ms: ${what}`);
      const { body } = await this.get();
      if (body.status === 410) throw new Error(`the session was gone before ${what}`);
    }
  }

  untaken(matches = () => true) {
    return this.#unread.filter(matches);
  }

  async ask(topic, event, payload = {}, { join_ref = null, ref = this.ref() } = {}) {
    await this.post([{ join_ref, ref, topic, event, payload }]);
    return this.next(`an answer to ${event} on ${topic}`, isReply(ref, topic));
  }

  /** Joins; answers the reply, and `join_ref` in it. */
  async join(topic, params = {}) {
    const ref = this.ref();
    return this.ask(topic, "phx_join", params, { ref, join_ref: ref });
  }

  beat() {
    return this.ask("phoenix", "heartbeat");
  }
}
