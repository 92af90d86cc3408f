// nginx and haproxy as the distribution ships them, each with a configuration that a test gives.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { eventually } from "./wait.mjs";

const START_MS = 10_000;
const PAGE = new URL("../../docs/reference/proxies.md", import.meta.url);
// Debian puts them where a user's shell does not look.
const PATH = `${process.env.PATH}:/usr/sbin:/usr/local/sbin`;

/** So many ports without a listener. */
export async function freePorts(count) {
  const listeners = Array.from({ length: count }, () => net.createServer().listen(0, "127.0.0.1"));
  await Promise.all(listeners.map((listener) => once(listener, "listening")));
  const ports = listeners.map((listener) => listener.address().port);
  await Promise.all(listeners.map((listener) => once(listener.close(), "close")));
  return ports;
}

/** The configuration that the page on proxies shows in this language, with other addresses. */
export async function documented(language, addresses) {
  const page = await readFile(PAGE, "utf8");
  const block = new RegExp(`\`\`\`${language}\n(.*?)\`\`\``, "s").exec(page)?.[1];
  if (!block) throw new Error(`the page on proxies shows no ${language}`);
  return Object.entries(addresses).reduce((text, [shown, real]) => {
    if (!text.includes(shown)) throw new Error(`${shown} does not stand in ${language}:\n${text}`);
    return text.replaceAll(shown, real);
  }, block);
}

/** nginx with this in its `http` block, until the test ends. */
export async function nginx(t, http, port) {
  const directory = await mkdtemp(join(tmpdir(), "instep-nginx-"));
  const kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  const folders = kinds.map((kind) => `${kind}_temp_path ${directory}/${kind};`).join("\n");
  const text = `
    user root;
    daemon off;
    worker_processes 1;
    pid ${directory}/pid;
    error_log stderr;
    events {}
    http {
      access_log off;
      ${folders}
      ${http}
    }`;
  const file = join(directory, "nginx.conf");
  await writeFile(file, text);
  await run(t, "nginx", ["-e", "stderr", "-p", directory, "-c", file], port, directory);
}

/** haproxy with this configuration, until the test ends. */
export async function haproxy(t, text, port) {
  const directory = await mkdtemp(join(tmpdir(), "instep-haproxy-"));
  const file = join(directory, "haproxy.cfg");
  await writeFile(file, `${text}\n`);
  await run(t, "haproxy", ["-db", "-f", file], port, directory);
}

async function run(t, program, args, port, directory) {
  const env = { ...process.env, PATH };
  const child = spawn(program, args, { env, stdio: ["ignore", "ignore", "pipe"] });
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text) => (stderr += text));
  const ended = once(child, "close").catch((error) => [error.message]);
  // Asked to end, it takes its workers with it.
  const orphan = () => child.kill("SIGTERM");
  process.once("exit", orphan);
  t.after(async () => {
    child.kill("SIGTERM");
    await ended;
    process.off("exit", orphan);
    await rm(directory, { recursive: true, force: true });
  });
  const failed = ended.then(([code]) => {
    throw new Error(`${program} ended: ${code}\n${stderr}`);
  });
  failed.catch(() => {});
  await Promise.race([failed, eventually(`${program} listens`, START_MS, () => listens(port))]);
}

function listens(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, "127.0.0.1", () => resolve(true));
    socket.on("error", () => resolve(false));
    socket.on("connect", () => socket.destroy());
  });
}
