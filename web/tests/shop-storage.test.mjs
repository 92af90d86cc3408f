// The shop when its log is blocked, and when its process dies. Each test has a server of its own.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { CLIENTS, answer, connect } from "./clients.mjs";
import { addProduct, merchant, Shopper, uuid7 } from "./shopper.mjs";
import { demo } from "./start.mjs";

const CLIENT = CLIENTS.find(({ name }) => name === "phoenix 1.8 over WebSocket");
const READS = 10_000;

test("SNK-03, SNK-05, SNK-R3, SNK-U5: with the log blocked pages are served and nothing is told", async (t) => {
  const server = await demoOnSmallDisk(t);
  if (!server) return;
  const shopper = await new Shopper(server).enter();
  await merchant(server, "products/1/release");
  assert.equal((await shopper.add(101)).status, 200);
  const { heard } = await follow(t, server, "product:2");
  const before = await new Shopper(server).get("/");
  await blockLog(server);

  const released = await merchant(server, "products/2/release");
  const order = uuid7();
  const bought = await shopper.checkout(order);
  const page = await shopper.post("/checkout", { order });

  assert.deepEqual([released.status, released.body.code], [503, "storage_full"]);
  assert.deepEqual([bought.status, bought.body.reason], [503, "failed"]);
  assert.match(page.body, new RegExp(`name="order" value="${order}"`));
  assert.equal((await shopper.cart()).count, 1);
  const head = await position(server);
  await readPages(server, READS);
  assert.equal(await position(server), head);
  assert.deepEqual(heard, []);
  const after = await new Shopper(server).get("/");
  assert.equal(shelf(after.body), shelf(before.body));
});

test("SNK-04, SNK-R7: a killed server comes back with the same shelf, and never answers 500", async (t) => {
  const server = await demo(t);
  const { id } = await addProduct(server, { sizes: ["8", "9"], release: true, stock: 120 });
  await merchant(server, `items/${id * 100 + 1}/stock`, { count: 0 });
  const shopper = await new Shopper(server).enter();
  await shopper.add(id * 100 + 2);
  await addBallast(server, 100);
  const before = await shopper.get("/");

  await server.kill();
  const statuses = new Set();
  let isUp = false;
  const asking = (async () => {
    while (!isUp || !statuses.has(200)) {
      const reply = await fetch(server.url).catch(() => null);
      if (reply) statuses.add(reply.status);
    }
  })();
  await server.start();
  isUp = true;
  await asking;

  assert.deepEqual([...statuses].sort(), [200, 503]);
  const after = await shopper.get("/");
  assert.equal(shelf(after.body), shelf(before.body));
  assert.equal((await shopper.cart()).count, 1);
});

/** The demonstration on a file system that is soon full; nothing where that cannot be had. */
async function demoOnSmallDisk(t) {
  const disk = await mkdtemp(join(tmpdir(), "instep-disk-"));
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=150m", "tmpfs", disk], { stdio: "pipe" });
  } catch (error) {
    await rm(disk, { recursive: true });
    t.skip(`a file system cannot be mounted here: ${error.message.split("\n")[1] ?? error}`);
    return undefined;
  }
  // The server, which ends later than this, holds files on it: a lazy unmount waits for them.
  t.after(async () => {
    execFileSync("umount", ["--lazy", disk]);
    await rm(disk, { recursive: true });
  });
  const before = process.env.TMPDIR;
  process.env.TMPDIR = disk;
  try {
    return await demo(t);
  } finally {
    if (before === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = before;
  }
}

/** Commits rows by the thousand, so that a start has something to load. */
async function addBallast(server, commits) {
  await server.must("PUT", "/v1/datasets/shop/tables/ballast", {});
  for (let number = 0; number < commits; number += 1) {
    const put = { op: "put", table: "ballast", row: { number } };
    await server.commit(
      "shop",
      Array.from({ length: 1000 }, (_, n) => ({ ...put, key: `${number}-${n}` })),
    );
  }
}

/** Writes until the log has no room for anything. */
async function blockLog(server) {
  await server.must("PUT", "/v1/datasets/shop/tables/ballast", {});
  for (let bytes = 200_000; bytes >= 1; bytes = Math.floor(bytes / 8)) {
    for (let number = 0; ; number += 1) {
      const row = { text: "x".repeat(bytes) };
      const ops = [1, 2, 3, 4].map((part) => ({ op: "put", table: "ballast", key: `${part}`, row }));
      const reply = await server.request("POST", "/v1/datasets/shop/commits", { ops });
      if (reply.status !== 200) {
        assert.equal(reply.body.code, "storage_full");
        break;
      }
      assert.ok(number < 2_000, "the log never filled up");
    }
  }
}

async function readPages(server, pages) {
  let left = pages;
  const reader = async () => {
    while (left-- > 0) {
      const reply = await fetch(`${server.url}/`);
      assert.equal(reply.status, 200);
      await reply.arrayBuffer();
    }
  };
  await Promise.all(Array.from({ length: 32 }, reader));
}

async function position(server) {
  return (await server.must("GET", "/shop/admin/products")).position;
}

async function follow(t, server, topic) {
  const socket = await connect(t, server, CLIENT);
  const channel = socket.channel(topic);
  const heard = [];
  const { status } = await answer(channel.join());
  assert.equal(status, "ok");
  socket.onMessage(({ topic: of, event }) => {
    if (of === topic && !event.startsWith("phx_") && event !== "bookmark") heard.push(event);
  });
  return { channel, heard };
}

/** What a page shows of the shelf, without what is the shopper's own. */
function shelf(html) {
  return /<section class="shelf"[\s\S]*?<\/section>/.exec(html)[0];
}
