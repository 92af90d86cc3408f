// Starts the built server, kills it, starts it again on the same data and the same port.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { eventually } from "./wait.mjs";

const ROOT = resolve(fileURLToPath(import.meta.url), "../../..");
const TARGET = process.env.CARGO_TARGET_DIR ?? join(ROOT, "target");
/** Where clients of other projects are built. */
export const FIELD = join(TARGET, "field", "debug");
/** The built binary. */
export const BINARY = process.env.INSTEP_BINARY ?? join(TARGET, "debug", "instep");

/** A disk that does not answer, as the library says that this is the source of. */
export const HANGING_DISK = join(ROOT, "crates/cli/tests/it/opening/hanging.c");

/** How long a start may take: recovery of a test's data is a matter of milliseconds. */
const START_MS = 20_000;

/**
 * `instep serve` with this configuration (TOML text), in a new data directory.
 * Pass the test context, and the server ends with the test. `isReady` asks the server at a URL.
 */
export async function serve(t, config = "", isReady = isPlainReady) {
  const data = await mkdtemp(join(tmpdir(), "instep-"));
  const file = join(data, "instep.toml");
  await writeFile(file, config);
  return start(t, data, ["serve", "--config", file, "--data", data], isReady);
}

/** `instep demo`, in a new data directory. */
export async function demo(t) {
  const data = await mkdtemp(join(tmpdir(), "instep-"));
  return start(t, data, ["demo", "--no-open", "--data", data]);
}

/** Runs the binary to its end; answers `{code, stderr}`. */
export async function run(...args) {
  const child = spawn(BINARY, args, { stdio: ["ignore", "ignore", "pipe"] });
  const timer = setTimeout(() => child.kill("SIGKILL"), START_MS);
  let stderr = "";
  child.stderr.on("data", (bytes) => (stderr += bytes));
  const [code] = await once(child, "close");
  clearTimeout(timer);
  return { code, stderr };
}

async function start(t, data, args, isReady = isPlainReady) {
  const server = new Server(data, args, isReady);
  t.after(() => server.remove());
  await server.start();
  return server;
}

async function isPlainReady(url) {
  const answer = await fetch(`${url}/readyz`).catch(() => null);
  return answer?.status === 200;
}

class Server {
  #args;
  #isReady;
  #child;
  // A test file that dies must not leave a server behind.
  #orphan = () => this.#child?.kill("SIGKILL");
  #stderr = [];
  #url;

  constructor(data, args, isReady) {
    this.data = data;
    this.#isReady = isReady;
    this.#args = args;
    process.once("exit", this.#orphan);
  }

  /** `http://127.0.0.1:PORT`, the same after a restart. */
  get url() {
    return this.#url;
  }

  /** The end point to give to `new Socket(…)`. */
  get socketUrl() {
    return `${this.#url.replace(/^http/, "ws")}/socket`;
  }

  async start(environment = {}) {
    const address = this.#url ? new URL(this.#url).host : "127.0.0.1:0";
    const child = spawn(BINARY, [...this.#args, "--http", address], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, ...environment },
    });
    this.#child = child;
    createInterface(child.stderr).on("line", (line) => {
      this.#stderr.push(line);
      this.#stderr.splice(0, this.#stderr.length - 50);
    });
    this.#url = await this.#announced(child);
    await eventually("the server is ready", START_MS, () => this.#isReady(this.#url));
  }

  #announced(child) {
    return new Promise((found, failed) => {
      const give = (reason) =>
        failed(new Error(`${BINARY} ${reason}\n${this.#stderr.join("\n")}`));
      const timer = setTimeout(() => give("announced no address"), START_MS);
      child.once("error", (error) => give(`cannot be started: ${error.message}`));
      child.once("exit", (code, signal) => give(`ended: ${code ?? signal}`));
      // The listener stays, because a full pipe would stop the server.
      createInterface(child.stdout).on("line", (line) => {
        const address = /^listening (https?:\/\/\S+)/.exec(line)?.[1];
        if (address) {
          clearTimeout(timer);
          found(address);
        }
      });
    });
  }

  /** Ends the process; SIGTERM asks it to drain, SIGKILL asks nothing. */
  async kill(signal = "SIGKILL") {
    const child = this.#child;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill(signal);
    await ended;
  }

  /** Ends the process and starts it again on the same data and port. */
  async restart(signal = "SIGKILL") {
    await this.kill(signal);
    await this.start();
  }

  /** Ends the process and deletes its data. */
  async remove() {
    await this.kill();
    process.off("exit", this.#orphan);
    // Agents of sites that a demo has started end a moment later than it.
    await rm(this.data, { recursive: true, force: true, maxRetries: 10 });
  }

  /** The header that carries the admin key. */
  async authorization() {
    const key = (await readFile(join(this.data, "admin.key"), "utf8")).trim();
    return { authorization: `Bearer ${key}` };
  }

  /** A request with the admin key; answers `{status, headers, body}`, body parsed if it is JSON. */
  async request(method, path, body, headers = {}) {
    const answer = await fetch(this.#url + path, {
      method,
      headers: {
        ...(await this.authorization()),
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await answer.text();
    const json = answer.headers.get("content-type")?.includes("json");
    return {
      status: answer.status,
      headers: answer.headers,
      body: json ? JSON.parse(text) : text,
    };
  }

  /** Like `request`, but anything except 2xx is an error with the answer in it. */
  async must(method, path, body) {
    const answer = await this.request(method, path, body);
    if (answer.status < 200 || answer.status > 299) {
      throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
    }
    return answer.body;
  }

  /** A dataset with one public table. */
  async createPublicTable(dataset, table) {
    await this.must("PUT", `/v1/datasets/${dataset}`);
    await this.must("PUT", `/v1/datasets/${dataset}/tables/${table}`, { public: true });
  }

  /** One commit; answers `{id, position, results}`. */
  commit(dataset, ops) {
    return this.must("POST", `/v1/datasets/${dataset}/commits`, { ops });
  }
}
