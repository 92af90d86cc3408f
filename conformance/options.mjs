// What the suite must be told about a server, since topics and events are the application's.

import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";

const TEXT = { type: "string" };

/** Every option with its meaning; a profile is a JSON file with the same names. */
export const OPTIONS = {
  url: [TEXT, "the endpoint, as phoenix.js takes it: ws://host:port/socket"],
  longpoll: [TEXT, "the long-poll address: http://host:port/socket/longpoll"],
  topic: [TEXT, "topics that accept joins; {} stands for a name of the suite's: room:{}"],
  unmatched: [TEXT, "a topic that no pattern matches (default: unmatched-by-anything:1)"],
  refused: [TEXT, "a topic whose join the application refuses"],
  reply: [TEXT, "an event that is answered with ok"],
  echo: [TEXT, "an event that is answered with ok and its own payload"],
  refuse: [TEXT, "an event that is answered with error"],
  broadcast: [TEXT, "an event that goes, as it is, to all who joined, the sender included"],
  "binary-broadcast": [TEXT, "the same for bytes, if the server takes binary frames"],
  "binary-echo": [TEXT, "an event that is answered with its own bytes"],
  push: [TEXT, "an event on which the server pushes `pushed` with the payload to this one client"],
  stop: [TEXT, "an event on which the server ends the channel normally"],
  crash: [TEXT, "an event on which the channel crashes"],
  "join-pushes": [TEXT, "join params (JSON) with which the server pushes something in the join"],
  presence: [TEXT, "topics with presence: presence:{}"],
  "presence-key": [TEXT, "the join param that names a member (default: key)"],
  "refused-params": [TEXT, "connect params (JSON) with which the server refuses to connect"],
  "refused-origin": [TEXT, "an Origin that is refused"],
  "auth-token": [{ type: "boolean" }, "the server takes a token in the subprotocol"],
  params: [TEXT, "connect params (JSON) for every connection"],
  "join-params": [TEXT, "join params (JSON) for every join"],
  channels: [TEXT, "channels one socket may join (default: 100; 0: no limit)"],
  "idle-ms": [TEXT, "silence after which the server closes; tested with --slow"],
  slow: [{ type: "boolean" }, "also run what takes longer than 15 seconds"],
  timeout: [TEXT, "milliseconds that an answer may take (default: 10000)"],
  parallel: [TEXT, "cases at a time (default: 8)"],
  only: [{ type: "string", multiple: true }, "cases whose id begins so; repeatable"],
  skip: [{ type: "string", multiple: true }, "cases to leave out; repeatable"],
  format: [TEXT, "table (default), tap, json or markdown"],
  strict: [{ type: "boolean" }, "a failed `should` fails the run, too"],
  list: [{ type: "boolean" }, "print the cases and end"],
  profile: [TEXT, "a JSON file with any of these; the command line wins"],
  help: [{ type: "boolean" }, "this text"],
};

const JSON_OPTIONS = ["join-pushes", "refused-params", "params", "join-params"];
const NUMBERS = { channels: 100, "idle-ms": 0, timeout: 10_000, parallel: 8 };

/** Reads the command line over its profile. */
export function readOptions(args) {
  const types = Object.fromEntries(Object.entries(OPTIONS).map(([name, [type]]) => [name, type]));
  const { values } = parseArgs({ args, options: types });
  const profile = values.profile ? JSON.parse(readFileSync(values.profile, "utf8")) : {};
  const unknown = Object.keys(profile).find((name) => !(name in OPTIONS));
  if (unknown) throw new Error(`${values.profile}: unknown option "${unknown}"`);
  const options = {
    unmatched: "unmatched-by-anything:1",
    "presence-key": "key",
    format: "table",
    only: [],
    skip: [],
    ...NUMBERS,
    ...profile,
    ...values,
  };
  for (const name of Object.keys(NUMBERS)) options[name] = Number(options[name]);
  for (const name of JSON_OPTIONS) {
    if (typeof options[name] === "string") options[name] = JSON.parse(options[name]);
  }
  if (!options.help && !options.list && !(options.url && options.topic)) {
    throw new Error("--url and --topic are needed; see --help");
  }
  return options;
}

export function helpText() {
  const lines = Object.entries(OPTIONS).map(([name, [, text]]) => `  --${name.padEnd(18)} ${text}`);
  return `node run.mjs --url ws://HOST:PORT/socket --topic 'room:{}' [options]\n\n${lines.join("\n")}`;
}
