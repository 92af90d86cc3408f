// The conformance suite against the built server, and its table against the reference page.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { after, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { CASES } from "../../conformance/cases.mjs";
import { readOptions } from "../../conformance/options.mjs";
import { render } from "../../conformance/report.mjs";
import { runCases } from "../../conformance/suite.mjs";
import { serve } from "./start.mjs";

const SUITE = fileURLToPath(new URL("../../conformance/", import.meta.url));
const PAGE = new URL("../../docs/reference/conformance.md", import.meta.url);
const [BEGIN, END] = ["<!-- what passes -->\n", "\n<!-- end -->"];

const CONFIG = `
[[live]]
topic = "room:*"
anyone_publishes = true
`;

const server = await serve({ after }, CONFIG);
const ARGS = [
  "--profile",
  `${SUITE}profiles/instep.json`,
  "--url",
  server.socketUrl,
  "--longpoll",
  `${server.url}/socket/longpoll`,
];

// Started once; each case below waits for its own outcome.
const settle = new Map();
const outcomes = CASES.map(({ id }) => new Promise((resolve) => settle.set(id, resolve)));
const run = runCases(CASES, readOptions(ARGS), (outcome) => settle.get(outcome.id)(outcome));

describe("conformance", () => {
  CASES.forEach(({ id, says }, at) => {
    it(`${id}: ${says}`, async (t) => {
      const { result, reason } = await outcomes[at];
      if (result === "skipped") t.skip(reason);
      else assert.equal(result, "passed", reason);
    });
  });
});

describe("the suite", () => {
  it("names a rule that is written down in every case, and has a case for every rule", async () => {
    const rules = await readFile(`${SUITE}RULES.md`, "utf8");
    const written = new Set([...rules.matchAll(/^- \*\*(\w+)\*\*/gm)].map(([, rule]) => rule));
    const used = new Set(CASES.map(({ rule }) => rule));
    assert.deepEqual([...used].filter((rule) => !written.has(rule)), []);
    // A server cannot be made too slow to take frames from outside.
    assert.deepEqual([...written].filter((rule) => !used.has(rule)), ["X12"]);
  });

  it("prints TAP and JSON, and ends with 0 when all passed", async () => {
    const { stdout } = await suite([...ARGS, "--only", "heartbeat", "--format", "tap"]);
    assert.match(stdout, /^TAP version 14\n1\.\.4\nok 1 - heartbeat: /);
    const json = JSON.parse((await suite([...ARGS, "--only", "heartbeat", "--format", "json"])).stdout);
    assert.deepEqual([json.passed, json.failedMust], [4, 0]);
  });

  it("ends with 1 when there is no server, and with 2 when it is not told of one", async () => {
    const nowhere = ["--url", "ws://127.0.0.1:1/socket", "--topic", "room:{}", "--only", "heartbeat"];
    assert.equal((await suite(nowhere)).code, 1);
    assert.equal((await suite([])).code, 2);
  });

  it("has its table in the reference, as it is", async () => {
    const text = await readFile(PAGE, "utf8");
    const [before, rest] = text.split(BEGIN);
    const table = render("markdown", await run);
    if (process.env.WRITE_REFERENCE) {
      await writeFile(PAGE, `${before}${BEGIN}${table}${END}${rest.split(END)[1]}`);
    }
    const now = (await readFile(PAGE, "utf8")).split(BEGIN)[1].split(END)[0];
    assert.equal(now, table, "WRITE_REFERENCE=1 node --test conformance.test.mjs writes it anew");
  });
});

/** Runs the suite from its command line; answers `{code, stdout}`. */
function suite(args) {
  return promisify(execFile)(process.execPath, [`${SUITE}run.mjs`, ...args]).then(
    ({ stdout }) => ({ code: 0, stdout }),
    ({ code, stdout }) => ({ code, stdout }),
  );
}
