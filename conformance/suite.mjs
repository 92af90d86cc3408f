// Runs cases against one server: each alone on its own topics and connections.

import { LongPoll } from "./longpoll.mjs";
import { Socket } from "./socket.mjs";

/** The server lacks what the case is about: no failure. */
class Skipped extends Error {}

let names = 0;
const RUN = `${Date.now().toString(36)}${process.pid.toString(36)}`;

/** What a case has to work with; everything opened ends with the case. */
class Context {
  #open = [];

  constructor(options) {
    this.options = options;
    this.timeout = options.timeout;
  }

  /** Ends the case as skipped unless the server has all of this. */
  needs(...features) {
    for (const feature of features) {
      if (!this.options[feature]) throw new Skipped(`needs --${feature}`);
    }
  }

  /** What a feature is called on this server. */
  name(feature) {
    this.needs(feature);
    return this.options[feature];
  }

  /** A topic that no other case uses. */
  topic(pattern = this.options.topic) {
    if (!pattern.includes("{}")) throw new Skipped("needs a --topic with {}");
    return pattern.replace("{}", `${RUN}-${++names}`);
  }

  topics(count) {
    return Array.from({ length: count }, () => this.topic());
  }

  async connect({ vsn = "2.0.0", params = {}, ...more } = {}) {
    const { url, timeout } = this.options;
    const all = { ...this.options.params, ...params };
    const socket = await Socket.open({ url, vsn, params: all, timeout, ...more });
    this.#open.push(socket);
    return socket;
  }

  /** A channel on a fresh connection. */
  async joined(topic = this.topic(), options = {}) {
    const socket = await this.connect(options);
    return this.join(socket, topic);
  }

  /** Joins and sees that it is accepted. */
  async join(socket, topic = this.topic(), params = {}, refs = {}) {
    const channel = await socket.join(topic, { ...this.options["join-params"], ...params }, refs);
    if (channel.status !== "ok") {
      throw new Error(`the join of ${topic} was answered ${JSON.stringify(channel.reply.payload)}`);
    }
    return channel;
  }

  /** Two channels on one topic, each on a connection of its own. */
  async pair(topic = this.topic(), options = {}) {
    return [await this.joined(topic, options), await this.joined(topic, options)];
  }

  /** A long-poll session that is not open yet. */
  longpoll({ vsn = "2.0.0", params = {}, ...more } = {}) {
    const url = this.name("longpoll");
    const all = { ...this.options.params, ...params };
    return new LongPoll({ url, vsn, params: all, timeout: this.timeout, ...more });
  }

  /** An event that the server answers with `ok`, whatever else it does. */
  get answered() {
    const { reply, echo, broadcast } = this.options;
    return reply ?? echo ?? broadcast ?? this.name("reply");
  }

  async end() {
    await Promise.all(this.#open.map((socket) => (socket.isOpen ? socket.cut() : null)));
  }
}

/** Runs the cases; tells `report` each outcome as it comes, answers all in order. */
export async function runCases(cases, options, report = () => {}) {
  const outcomes = new Array(cases.length);
  let next = 0;
  const worker = async () => {
    while (next < cases.length) {
      const at = next++;
      outcomes[at] = await runCase(cases[at], options);
      report(outcomes[at]);
    }
  };
  await Promise.all(Array.from({ length: options.parallel }, worker));
  return outcomes;
}

async function runCase(test, options) {
  const { id, must, rule, says } = test;
  const outcome = { id, must, rule, says, result: "passed", reason: "", ms: 0 };
  const began = performance.now();
  const context = new Context(options);
  try {
    if (test.slow && !options.slow) throw new Skipped("takes long; needs --slow");
    await test.run(context);
  } catch (error) {
    outcome.result = error instanceof Skipped ? "skipped" : "failed";
    outcome.reason = error.message;
  }
  await context.end();
  outcome.ms = Math.round(performance.now() - began);
  return outcome;
}
