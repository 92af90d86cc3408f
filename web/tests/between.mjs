// What stands between a client and the server: it cuts as a network does, lets no connection through for
// a while, and hears what the server answers.

import { once } from "node:events";
import net from "node:net";

import { eventually } from "./wait.mjs";

const NEWS_MS = 20_000;

export class Between {
  #answers = "";
  #isShut = false;
  #listener;
  #sockets = new Set();

  /** Before a server, until the test ends. */
  static async open(t, server) {
    const between = new Between();
    const { hostname, port } = new URL(server.url);
    between.#listener = net.createServer((client) => between.#pass(client, Number(port), hostname));
    between.#listener.listen(0, "127.0.0.1");
    await once(between.#listener, "listening");
    t.after(() => {
      between.cut();
      between.#listener.close();
    });
    return between;
  }

  get url() {
    return `http://127.0.0.1:${this.#listener.address().port}`;
  }

  get socketUrl() {
    return `ws://127.0.0.1:${this.#listener.address().port}/socket`;
  }

  /** Cuts every connection, without a word. */
  cut() {
    this.#sockets.forEach((socket) => socket.destroy());
  }

  /** Cuts, and lets no connection through until `reopen`. */
  shut() {
    this.#isShut = true;
    this.cut();
  }

  /** Lets through again; what was answered before is forgotten. */
  reopen() {
    this.#answers = "";
    this.#isShut = false;
  }

  /**
   * Waits until the server has answered this. Who was let in instead is cut now and then, and
   * tries again.
   */
  async answered(pattern) {
    const has = () => pattern.test(this.#answers);
    for (let attempts = 0; attempts < 5; attempts++) {
      const late = await eventually("it", NEWS_MS / 5, has).catch((late) => late);
      if (late === true) return;
      this.cut();
    }
    throw new Error(`no answer like ${pattern}, but ${this.#answers.slice(-1000)}`);
  }

  #pass(client, port, hostname) {
    if (this.#isShut) return client.destroy();
    const server = net.connect(port, hostname);
    server.on("data", (bytes) => {
      this.#answers = (this.#answers + bytes.toString("latin1")).slice(-65_536);
    });
    for (const [one, other] of [[client, server], [server, client]]) {
      this.#sockets.add(one);
      one.pipe(other);
      one.on("error", () => other.destroy());
      one.on("close", () => other.destroy() && this.#sockets.delete(one));
    }
  }
}
