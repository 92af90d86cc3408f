// RFC 6455 by the cases of Autobahn (kosoku runs them). Compression is not offered, so 12.* and
// 13.* have nothing to try; nothing else is left out. The report stays in artifacts/rfc6455.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, describe, it } from "node:test";
import { fileURLToPath } from "node:url";

import { python } from "./python.mjs";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const TARGET = process.env.CARGO_TARGET_DIR ?? join(ROOT, "target");
const ECHO = process.env.ECHO_BINARY ?? join(TARGET, "debug", "examples", "echo");
const REPORT = fileURLToPath(new URL("artifacts/rfc6455", import.meta.url));
/** Ten seconds on an idle machine, most of them for the messages of 16 MiB. */
const RUN_MS = 100_000;
const GOOD = ["OK", "NON-STRICT", "INFORMATIONAL"];

const address = await echo();
const excluded = ["-x", "12.*", "-x", "13.*"];
const run = await python("kosoku", [...excluded, "-p", "2", "-o", REPORT, address], RUN_MS);
const report = JSON.parse(await readFile(join(REPORT, "index.json"), "utf8").catch(() => "{}"));
const cases = Object.entries(Object.values(report)[0] ?? {});

describe("RFC 6455", () => {
  it("all cases were run", () => {
    // Of the 517 cases 216 are about compression.
    assert.equal(cases.length, 301, run.output);
  });

  for (const [id, { behavior, behaviorClose }] of cases) {
    it(`case ${id}`, () => {
      assert.ok(GOOD.includes(behavior), behavior);
      assert.ok(GOOD.includes(behaviorClose), `at the close: ${behaviorClose}`);
    });
  }
});

/** Starts the echo example; answers `host:port`. It ends with the tests. */
async function echo() {
  const child = spawn(ECHO, ["127.0.0.1:0"], { stdio: ["ignore", "ignore", "pipe"] });
  after(() => child.kill("SIGKILL"));
  const failed = once(child, "error").then(([error]) => Promise.reject(error));
  const lines = createInterface(child.stderr);
  const [line] = await Promise.race([once(lines, "line"), failed]);
  return /^listening ws:\/\/(\S+)/.exec(line)[1];
}
