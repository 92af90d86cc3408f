// The commands of README.md in the order in which they stand, in one folder: the demo, then a
// server with data of one's own, to whose file one block of configuration after the other is added.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { it } from "node:test";
import { promisify } from "node:util";

import { BINARY } from "./start.mjs";

const README = await readFile(new URL("../../README.md", import.meta.url), "utf8");
const WAIT_MS = 120_000;

// What a reader does in another terminal goes on behind; a server that is started ends the one
// before, as Ctrl-C does.
const SHELL = `
set -eu
server=
finish() { [ -z "$server" ] || { kill -INT "$server"; wait "$server" || true; server=; }; }
trap 'finish; kill $(jobs -p) 2>/dev/null || true' EXIT
until_there() { for _ in $(seq 600); do grep -q "$1" "$2" && return; sleep 0.1; done; cat "$2"; false; }
begin() {
  finish
  "$BINARY" "$@" --http "127.0.0.1:$PORT" > server.log 2>&1 &
  server=$!
  until_there "listening http" server.log
  for _ in $(seq 600); do [ "$(command curl -s "127.0.0.1:$PORT/readyz")" = ready ] && return; sleep 0.1; done
  cat server.log; false
}
instep() {
  case "$1 \${2-}" in
    demo*) begin "$@" --no-open ;;
    serve*) begin "$@" ;;
    subscribe*) "$BINARY" "$@" > heard.log 2>&1 & until_there joined heard.log ;;
    "mail take") "$BINARY" "$@" > taken.log 2>&1 & until_there morning taken.log ;;
    *) "$BINARY" "$@" ;;
  esac
}
cargo() { shift 3; instep "$@"; }
curl() {
  if [ "$1" = -N ]; then command curl -s "$@" > events.log & until_there event events.log; else command curl "$@"; fi
}
`;

/** The blocks of commands and of configuration, as one script. */
function script() {
  const blocks = [...README.matchAll(/^```(sh|toml)\n(.*?)^```$/gms)].map(([, kind, text]) => ({ kind, text }));
  assert.ok(blocks.length >= 8, "the page has examples");
  const again = "instep serve --config instep.toml --data ./data";
  const commands = blocks.map(({ kind, text }) =>
    kind === "toml" ? `cat >> instep.toml <<'TOML'\n${text}TOML\n${again}\n` : text,
  );
  return commands
    .join("\n")
    .replace(/^\.\/test .*$/m, "")
    .replace(/^alias .*$/m, "")
    .replace("sell-until-gone 1 ", "sell-until-gone 1 --rate 0 ")
    .replace("--bots 1000 --rate 100", "--bots 20 --rate 20 --seconds 1")
    .replaceAll("localhost:4000", "127.0.0.1:$PORT");
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((listening) => server.once("listening", listening));
  const { port } = server.address();
  await new Promise((closed) => server.close(closed));
  return port;
}

it("the commands of the README work in their order, in one folder", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "instep-readme-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const port = String(await freePort());
  const env = { ...process.env, BINARY, PORT: port, INSTEP_SERVER: `http://127.0.0.1:${port}` };
  const ending = `
until_there '"low"' heard.log
until_there hello events.log
instep demo
if "$BINARY" shop list 2> refused.log; then false; fi
"$BINARY" shop list --data data/demo > /dev/null
`;

  const run = promisify(execFile)("bash", ["-c", SHELL + script() + ending], { cwd: folder, env, timeout: WAIT_MS });
  await run.catch(({ stdout, stderr }) => assert.fail(`${stdout}\n${stderr}`));

  const refused = await readFile(join(folder, "refused.log"), "utf8");
  assert.match(refused, /wrong_key.*data\/admin\.key was shown; that of data\/demo with --data data\/demo/);
});
