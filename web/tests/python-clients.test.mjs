// Clients of PyPI, as published: python_clients.py says what each of them does.

import assert from "node:assert/strict";
import { it } from "node:test";
import { fileURLToPath } from "node:url";

import { converse, surroundings } from "./converse.mjs";
import { PYTHON } from "./python.mjs";

const PROGRAM = fileURLToPath(new URL("python_clients.py", import.meta.url));

const CLIENTS = [
  { name: "phxsocket", beats: true },
  { name: "chunnel" },
  { name: "phoenix-channels-python-client", beats: true },
  { name: "phx-events" },
  { name: "realtime", beats: true },
];

for (const { name, beats } of CLIENTS) {
  it(`${name}: joins, is refused, hears, leaves, and is there again after a kill`, async (t) => {
    const server = await surroundings(t, beats);

    const { code, said } = await converse(t, PYTHON, [PROGRAM, name], server);

    assert.equal(code, 0, said);
  });
}
