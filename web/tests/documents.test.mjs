// What documents show is run: each block of commands against a new server, its answers compared
// with the block of JSON that follows it.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { promisify } from "node:util";

import { BINARY, serve } from "./start.mjs";

const END = "@@ end of block @@";

describe("docs/reference/commits.md", () => {
  it("has examples that answer as it says", async (t) => {
    const page = await readFile(new URL("../../docs/reference/commits.md", import.meta.url), "utf8");
    const blocks = [...page.matchAll(/^```(sh|json)\n(.*?)^```$/gms)].map(([, kind, text]) => ({ kind, text }));
    const shell = blocks.filter(({ kind }) => kind === "sh");
    assert.ok(shell.length >= 5, "the page has examples");

    const server = await serve(t);
    const outputs = await runAll(t, server, shell.map(({ text }) => text));

    shell.forEach((block, at) => {
      const next = blocks[blocks.indexOf(block) + 1];
      if (next?.kind !== "json") return;
      const [said, shown] = [values(outputs[at]), values(next.text)];
      assert.equal(said.length, shown.length, `${block.text}\n${outputs[at]}`);
      said.forEach((value, index) => assert.deepEqual(veiled(value, shown[index]), shown[index]));
    });
  });
});

describe("docs/reference/mail.md", () => {
  it("has five minutes that send, take and confirm two messages", async (t) => {
    const page = await readFile(new URL("../../docs/reference/mail.md", import.meta.url), "utf8");
    const [, config, commands] = /^```toml\n(.*?)^```\n+^```sh\n(.*?)^```/ms.exec(page);
    const server = await serve(t, config);
    const begin = `instep() { ${BINARY} "$@" --server ${server.url}; }\n`;

    const [said] = await runAll(t, server, [begin + commands.replace(/^instep serve .*&$/m, "")]);

    assert.match(said, /message 1 for org\/42, attempt 1: \{"text":"good morning"\}/);
    assert.match(said, /^message 1: ok\nmessage 2: ok$/m);
    assert.match(said, /^mail +0 +0 +0 +2 /m, "nothing is pending, two are confirmed");
  });
});

describe("docs/reference/conformance.md", () => {
  it("names the versions of the clients that are installed", async () => {
    const file = (path) => readFile(new URL(path, import.meta.url), "utf8");
    const version = async (name) => JSON.parse(await file(`node_modules/${name}/package.json`)).version;
    const page = await file("../../docs/reference/conformance.md");
    const rows = [...page.matchAll(/^\| `([^`]+)`[^|]* \| ([\d., ]+) \| (npm|PyPI|crates\.io) \|/gm)];
    const wanted = await Promise.all(["requirements.txt", "requirements-alone.txt"].map(file));
    const crates = await file("../../conformance/clients/rust/Cargo.toml");
    assert.ok(rows.length >= 15, `${rows.length} rows`);

    for (const [, name, versions, from] of rows) {
      if (from === "PyPI") assert.ok(wanted.join("").includes(`${name}==${versions}\n`), name);
      else if (from === "crates.io") assert.ok(crates.includes(`${name} = "=${versions}"`), name);
      else {
        const names = name === "phoenix" ? ["phoenix-16", "phoenix-17", "phoenix"] : [name];
        assert.equal(versions, (await Promise.all(names.map(version))).join(", "), name);
      }
    }
  });
});

/** Runs blocks of commands in one shell, in a folder that has the server's `data`. */
async function runAll(t, server, blocks) {
  const folder = await mkdtemp(join(tmpdir(), "instep-documents-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  await symlink(server.data, join(folder, "data"));
  const script = blocks.map((text) => `${text}\necho '${END}'\n`).join("");
  // Each answer stands on lines of its own.
  const begin = 'set -euo pipefail\ncurl() { command curl "$@"; echo; }\n';
  const commands = begin + script.replaceAll("localhost:4000", new URL(server.url).host);
  const { stdout } = await promisify(execFile)("bash", ["-c", commands], { cwd: folder, timeout: 60_000 });
  return stdout.split(`${END}\n`);
}

const values = (text) => text.split("\n").filter((line) => line.trim()).map((line) => JSON.parse(line));

/** What the page shows as `…` may be anything. */
function veiled(value, shown) {
  const veil = ([name, held]) => [name, shown[name] === "…" ? "…" : held];
  return Object.fromEntries(Object.entries(value).map(veil));
}
