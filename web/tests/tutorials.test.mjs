// The commands of the tutorials, in their order and in one shell and folder. What stands behind a
// block of commands as `text` is what it prints: such a block only asks, and is asked again until
// it answers so.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { chmod, mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { it } from "node:test";

import { BINARY } from "./start.mjs";

const FOLDER = new URL("../../docs/tutorials/", import.meta.url);
const PATIENCE_MS = 30_000;
const AGAIN_MS = 200;
const END = "@@ end of block @@";

// The server listens on a free port; a database is asked by Python, which the tests have.
const INSTEP = `#!/bin/sh
case $1 in
  serve) exec "$BINARY" "$@" --http "127.0.0.1:$PORT" ;;
  *) exec "$BINARY" "$@" ;;
esac
`;
const SQLITE = `#!/usr/bin/env python3
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=20)
for row in connection.execute(sys.argv[2]):
    print("|".join("" if value is None else str(value) for value in row))
connection.commit()
`;

for (const page of (await readdir(FOLDER)).filter((name) => name.endsWith(".md"))) {
  it(`the commands of docs/tutorials/${page} print what it says`, async (t) => {
    const text = await readFile(new URL(page, FOLDER), "utf8");
    const here = text.replaceAll("localhost:4000", "127.0.0.1:$PORT");
    const blocks = [...here.matchAll(/^```(\w+)\n(.*?)^```$/gms)].map(([, kind, content]) => ({ kind, content }));
    assert.ok(blocks.length >= 5, "the page has examples");
    const shell = await openShell(t);

    for (const [at, { kind, content }] of blocks.entries()) {
      if (kind === "text") continue;
      assert.equal(kind, "sh", "a block is of commands, or what they print");
      const next = blocks[at + 1];
      await (next?.kind === "text" ? shell.until(content, next.content) : shell.run(content));
    }
  });
}

/** A shell in an empty folder, with a server's port and commands of its own. */
async function openShell(t) {
  const folder = await mkdtemp(join(tmpdir(), "instep-tutorial-"));
  const bin = join(folder, "bin");
  await mkdir(bin);
  for (const [name, script] of [["instep", INSTEP], ["sqlite3", SQLITE]]) {
    await writeFile(join(bin, name), script);
    await chmod(join(bin, name), 0o755);
  }
  const work = join(folder, "work");
  await mkdir(work);
  const port = String(await freePort());
  const env = { ...process.env, BINARY, PORT: port, PATH: `${bin}:${process.env.PATH}` };
  env.INSTEP_SERVER = `http://127.0.0.1:${port}`;
  // In a group of its own: what it leaves behind ends with it.
  const child = spawn("bash", ["-c", "set -u; exec 2>&1; while read -r -d '' block; do eval \"$block\" < /dev/null; done"], {
    cwd: work,
    env,
    detached: true,
  });
  t.after(async () => {
    process.kill(-child.pid, "SIGKILL");
    await rm(folder, { recursive: true, force: true });
  });
  let heard = "";
  let told = () => {};
  child.stdout.setEncoding("utf8");
  child.stdout.on("data", (piece) => {
    heard += piece;
    told();
  });

  const run = async (commands) => {
    heard = "";
    child.stdin.write(`${commands}\necho "${END}$?"\0`);
    const deadline = Date.now() + PATIENCE_MS;
    while (!heard.includes(END)) {
      assert.ok(Date.now() < deadline, `it does not end: ${commands}\n${heard}`);
      await new Promise((done) => {
        told = done;
        setTimeout(done, AGAIN_MS);
      });
    }
    return heard.slice(0, heard.indexOf(END));
  };
  const until = async (commands, shown) => {
    const deadline = Date.now() + PATIENCE_MS;
    for (;;) {
      const said = await run(commands);
      if (isShown(said, shown)) return;
      assert.ok(Date.now() < deadline, `${commands}\nprints\n${said}\nand not\n${shown}`);
      await new Promise((done) => setTimeout(done, AGAIN_MS));
    }
  };
  return { run, until };
}

/** True when the lines are those that are shown; `…` stands for anything within a line. */
function isShown(said, shown) {
  const lines = (text) => text.trimEnd().split("\n");
  const literal = (part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const pattern = (line) => new RegExp(`^${line.split(/ ?… ?/).map(literal).join(".*")}$`);
  const [given, wanted] = [lines(said), lines(shown)];
  return given.length === wanted.length && wanted.every((line, at) => pattern(line).test(given[at].trimEnd()));
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((listening) => server.once("listening", listening));
  const { port } = server.address();
  await new Promise((closed) => server.close(closed));
  return port;
}
