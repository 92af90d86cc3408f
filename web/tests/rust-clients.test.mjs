// Clients of crates.io, as published: conformance/clients/rust says what each of them does.

import assert from "node:assert/strict";
import { join } from "node:path";
import { it } from "node:test";

import { converse, surroundings } from "./converse.mjs";
import { FIELD } from "./start.mjs";

const CLIENTS = [
  { name: "phoenix_channels_client" },
  { name: "phoenix_chan", beats: true },
  { name: "phyllo", beats: true },
];

for (const { name, beats } of CLIENTS) {
  it(`${name}: does what its program says, and is there again after a kill`, async (t) => {
    const server = await surroundings(t, beats);

    const { code, said } = await converse(t, join(FIELD, name), [], server);

    assert.equal(code, 0, said);
  });
}
