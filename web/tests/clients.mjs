// Clients that have the face of phoenix.js, each as published, over the transports that they have.

import { createRequire } from "node:module";

import WebSocket from "ws";

import { eventually, within } from "./wait.mjs";
import { XMLHttpRequest } from "./xhr.mjs";

/** How long an answer may take on a busy machine, and how long coming back with all news. */
const ANSWER_MS = 10_000;
const NEWS_MS = 20_000;

/**
 * Waits before another attempt: short, so that a test of three rejoins does not wait for back-off,
 * and growing, because the oldest clients forget a join whose answer takes longer than that.
 */
export const soon = (tries) => [50, 100, 200, 500, 1000][tries - 1] ?? 2000;

// 1.6 and 1.7 look for their world in `self`, once, when they are loaded. 1.8 takes what Node
// has, so `self` must be gone again before it is loaded.
globalThis.self = { XMLHttpRequest };
const old = [await import("phoenix-16"), await import("phoenix-17")];
delete globalThis.self;
const current = [await import("phoenix"), await import("@supabase/phoenix")];
// These speak version 1, and know neither bytes nor parameters that are asked for at each join.
const require = createRequire(import.meta.url);
const first = [require("phoenix-channels"), require("phoenix-socket")];

const VERSIONS = {
  "phoenix 1.6": old[0],
  "phoenix 1.7": old[1],
  "phoenix 1.8": current[0],
  "@supabase/phoenix 0.4": current[1],
};
/** Their long-poll, where they have one, is older than Phoenix 1.0. */
const OF_VERSION_ONE = { "phoenix-channels 1.0": first[0], "phoenix-socket 1.2": first[1] };

/** Each over each transport: `{name, longPoll, binary, asks, Socket, transport}`. */
export const CLIENTS = [
  ...Object.entries(VERSIONS).flatMap(([version, { Socket, LongPoll }]) => [
    {
      name: `${version} over WebSocket`,
      longPoll: false,
      binary: true,
      asks: true,
      Socket,
      transport: WebSocket,
    },
    {
      name: `${version} over long-poll`,
      longPoll: true,
      // Older ones say themselves that they cannot send binary over long-poll.
      binary: current.some((one) => one.Socket === Socket),
      asks: true,
      Socket,
      transport: LongPoll,
    },
  ]),
  ...Object.entries(OF_VERSION_ONE).map(([version, { Socket }]) => ({
    name: `${version} over WebSocket`,
    longPoll: false,
    binary: false,
    asks: false,
    Socket,
    transport: WebSocket,
  })),
];

/** A connected client, which leaves with the test. Everything it hears is in `frames`. */
export async function connect(t, server, client, options = {}) {
  const socket = new client.Socket(server.socketUrl, {
    transport: client.transport,
    reconnectAfterMs: soon,
    rejoinAfterMs: soon,
    timeout: ANSWER_MS,
    ...options,
  });
  socket.frames = [];
  socket.asks = client.asks;
  socket.onMessage((frame) => socket.frames.push(frame));
  t.after(() => {
    socket.disconnect();
    // The oldest would go on by themselves.
    socket.reconnectTimer.reset();
    clearInterval(socket.heartbeatTimer);
    for (const { rejoinTimer } of socket.channels) rejoinTimer.reset();
  });
  socket.connect();
  await eventually(`${client.name} connects`, ANSWER_MS, () => socket.isConnected());
  return socket;
}

/** Cuts the connection as a network does: no close frame, no warning. */
export function cut(socket) {
  socket.conn.terminate();
}

/** Parameters that are asked for at each join, also by a client that knows none such. */
export function asked(socket, params) {
  return socket.asks || typeof params !== "function" ? params : { toJSON: params };
}

/** The next frame heard, past or future, for which `matches` holds. */
export function frame(socket, what, matches) {
  return eventually(what, ANSWER_MS, () => socket.frames.find(matches));
}

/** Sends a frame that the client would not send by itself; answers its ref. */
export function sendFrame(socket, topic, event, payload, join) {
  const ref = socket.makeRef();
  socket.push({ topic, event, payload, ref, join_ref: join === undefined ? ref : join });
  return ref;
}

/** The answer to a push or a join as `{status, response}`. */
export function answer(push) {
  const settled = new Promise((resolve) => {
    for (const status of ["ok", "error", "timeout"]) {
      push.receive(status, (response) => resolve({ status, response }));
    }
  });
  return within("an answer", 2 * ANSWER_MS, settled);
}

/**
 * A copy of a table, kept the way a page keeps one: a snapshot or a reset replaces it, `row` and
 * `gone` change it, and `position` is the last one heard.
 */
export class Follower {
  rows = new Map();
  replies = [];
  positions = [];

  /** `params` as for `socket.channel`: an object, or a closure that is asked at every join. */
  constructor(socket, topic, params = {}) {
    this.channel = socket.channel(topic, asked(socket, params));
    this.channel.on("row", ({ key, row, position }) => {
      this.rows.set(key, row);
      this.#heard(position);
    });
    this.channel.on("snapshot", ({ rows }) => this.#take(rows));
    this.channel.on("gone", ({ key, position }) => {
      this.rows.delete(key);
      this.#heard(position);
    });
    this.channel.on("bookmark", ({ position }) => this.#heard(position));
  }

  get position() {
    return this.positions.at(-1);
  }

  /** Joins; the reply of every later rejoin is kept in `replies` too. */
  async join() {
    const push = this.channel.join().receive("ok", (reply) => this.#joined(reply));
    const { status, response } = await answer(push);
    if (status !== "ok") throw new Error(`join: ${status} ${JSON.stringify(response)}`);
    return response;
  }

  /** Waits until the copy is exactly this. */
  async becomes(expected) {
    const wanted = JSON.stringify(sorted(Object.entries(expected)));
    const now = () => JSON.stringify(sorted([...this.rows]));
    await eventually(`the rows ${wanted}`, NEWS_MS, () => now() === wanted).catch((late) => {
      throw new Error(`${late.message}, but ${now()}`);
    });
  }

  /** Waits for the `n`th reply to a join, counted from 1. */
  reply(n) {
    return eventually(`reply ${n} to a join`, NEWS_MS, () => this.replies[n - 1]);
  }

  #joined(reply) {
    this.replies.push(reply);
    if (reply.mode === "resume") return;
    this.rows.clear();
    this.#take(reply.rows ?? []);
    this.#heard(reply.position ?? undefined);
  }

  #take(rows) {
    for (const { payload } of rows) this.rows.set(payload.key, payload.row);
  }

  #heard(position) {
    if (position !== undefined) this.positions.push(position);
  }
}

function sorted(entries) {
  return entries.sort(([a], [b]) => (a < b ? -1 : 1));
}
