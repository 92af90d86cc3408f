// The Python side of the tests: a virtual environment with what requirements.txt names.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** `./test` makes it: `python3 -m venv .venv && .venv/bin/pip install -r web/tests/requirements.txt`. */
const VENV = process.env.VENV ?? fileURLToPath(new URL("../../.venv", import.meta.url));

/** Its interpreter. */
export const PYTHON = join(VENV, "bin", "python");

/** Runs a program of the environment to its end; answers `{code, output}`. */
export async function python(program, args, ms) {
  const child = spawn(join(VENV, "bin", program), args, { stdio: ["ignore", "pipe", "pipe"] });
  const timer = setTimeout(() => child.kill("SIGKILL"), ms);
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text) => (output += text));
  }
  const [code] = await once(child, "close");
  clearTimeout(timer);
  return { code, output };
}
