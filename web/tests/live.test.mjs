// Live topics: missed messages come again, or it is said that they are unknown; and presence.

import assert from "node:assert/strict";
import { after, describe, it } from "node:test";

import { Presence } from "phoenix";

import { CLIENTS, answer, asked, connect, cut } from "./clients.mjs";
import { serve } from "./start.mjs";
import { eventually } from "./wait.mjs";

const CONFIG = `
[[live]]
topic = "room:*"
anyone_publishes = true

[[live]]
topic = "kept:*"
history = 100

[[live]]
topic = "latest:*"
last_value = true

[[live]]
topic = "who:*"
presence = "list"

[[live]]
topic = "crowd:*"
presence = "count"
`;

/** How long news may take on a busy machine. */
const NEWS_MS = 10_000;

const server = await serve({ after }, CONFIG);
const publish = (topic, n) => server.must("POST", `/v1/topics/${topic}`, { event: "said", payload: { n } });

/** A client of a live topic that counts its messages, as any client can. */
class Listener {
  heard = [];
  replies = [];
  place;

  constructor(socket, topic, params = {}) {
    const now = () => ({ ...params, since: this.place });
    this.channel = socket.channel(topic, asked(socket, now));
    this.channel.on("said", ({ n }) => {
      this.heard.push(n);
      this.place.offset += 1;
    });
    this.channel.on("gap", ({ epoch, offset }) => (this.place = { epoch, offset }));
  }

  async join() {
    const push = this.channel.join().receive("ok", (reply) => {
      this.replies.push(reply);
      this.place = { epoch: reply.epoch, offset: reply.offset };
    });
    const { status, response } = await answer(push);
    assert.equal(status, "ok", JSON.stringify(response));
    return response;
  }

  has(...expected) {
    const wanted = JSON.stringify(expected);
    return eventually(`the messages ${wanted}`, NEWS_MS, () => JSON.stringify(this.heard) === wanted);
  }
}

for (const client of CLIENTS) {
  const topic = (kind) => `${kind}:${client.name.replaceAll(/[^\w.]/g, "-")}`;

  describe(client.name, () => {
    it("JAN-U5: who comes back gets what was missed, in order and once", async (t) => {
      const name = topic("kept");
      const socket = await connect(t, server, client);
      const listener = new Listener(socket, name);
      const first = await listener.join();
      await publish(name, 1);
      await listener.has(1);

      if (client.longPoll) {
        await answer(listener.channel.leave());
        await publish(name, 2);
        await publish(name, 3);
        const back = new Listener(socket, name);
        back.place = { ...listener.place };
        const reply = await back.join();
        assert.deepEqual(reply, { mode: "resume", epoch: first.epoch, offset: 1, recovered: true });
        await publish(name, 4);
        await back.has(2, 3, 4);
      } else {
        cut(socket);
        await publish(name, 2);
        await publish(name, 3);
        await eventually("it joins again", NEWS_MS, () => listener.replies.length > 1);
        await publish(name, 4);
        await listener.has(1, 2, 3, 4);
        const { mode, epoch, recovered } = listener.replies[1];
        assert.deepEqual([mode, epoch, recovered], ["resume", first.epoch, true]);
      }
    });

    it("who was away too long, or on another server, is told and not refused", async (t) => {
      const socket = await connect(t, server, client);
      for (const since of ["abc-7", { epoch: "abc", offset: 7 }, "junk", 7]) {
        const channel = socket.channel(topic("room"), { since });
        const { status, response } = await answer(channel.join());
        assert.deepEqual([status, response.mode, response.recovered], ["ok", "resume", false]);
        await answer(channel.leave());
      }
    });

    it("a new joiner gets the last value, and one that has it does not", async (t) => {
      const name = topic("latest");
      await publish(name, 1);
      await publish(name, 2);
      const socket = await connect(t, server, client);
      const listener = new Listener(socket, name);
      assert.deepEqual((await listener.join()).offset, 1);
      await listener.has(2);

      const other = new Listener(await connect(t, server, client), name);
      other.place = { ...listener.place };
      assert.equal((await other.join()).recovered, true);
      await publish(name, 3);
      await other.has(3);
    });

    it("every subscriber knows the presences, in Phoenix's own Presence", async (t) => {
      const name = topic("who");
      const enter = async (user, at) => {
        const socket = await connect(t, server, client);
        const channel = socket.channel(name, { key: user, presence: { meta: { at } } });
        const presence = new Presence(channel);
        const { status } = await answer(channel.join());
        assert.equal(status, "ok");
        return { socket, channel, presence };
      };
      const names = ({ presence }) => {
        const list = presence.list((key, { metas }) => `${key}:${metas.map(({ at }) => at).join("+")}`);
        return list.sort().join(" ");
      };
      const sees = (who, wanted) =>
        eventually(`${wanted}, but ${names(who)}`, NEWS_MS, () => names(who) === wanted);
      const ann = await enter("ann", "desk");
      const bob = await enter("bob", "door");
      await sees(ann, "ann:desk bob:door");
      await sees(bob, "ann:desk bob:door");

      const again = await enter("ann", "phone");
      await eventually("both of ann", NEWS_MS, () => ann.presence.state.ann?.metas.length === 2);
      assert.equal((await answer(again.channel.push("presence", { event: "untrack" }))).status, "ok");
      await sees(bob, "ann:desk bob:door");
      const moved = { type: "presence", event: "track", payload: { at: "roof" } };
      assert.equal((await answer(bob.channel.push("presence", moved))).status, "ok");
      await sees(ann, "ann:desk bob:roof");

      await answer(ann.channel.leave());
      await sees(bob, "bob:roof");
      const { body } = await server.request("GET", `/v1/topics/${encodeURIComponent(name)}/presence`);
      assert.deepEqual([body.count, Object.keys(body.present)], [1, ["bob"]]);
    });

    it("a crowd is counted, and who only watches is not", async (t) => {
      const name = topic("crowd");
      const counts = [];
      const watcher = (await connect(t, server, client)).channel(name, { presence: false });
      watcher.on("presence_count", (count) => counts.push(count));
      await answer(watcher.join());
      await eventually("the first count", NEWS_MS, () => counts.length > 0);
      const one = (await connect(t, server, client)).channel(name, { key: "a" });
      const two = (await connect(t, server, client)).channel(name, { key: "a" });
      await answer(one.join());
      await answer(two.join());

      const last = () => JSON.stringify(counts.at(-1));
      assert.deepEqual(counts[0], { count: 0, keys: 0 });
      await eventually("two, of one", NEWS_MS, () => last() === '{"count":2,"keys":1}');
      two.socket.disconnect();
      if (client.longPoll) await answer(one.leave());
      const left = client.longPoll ? '"count":1' : '"count":1,"keys":1';
      await eventually("one is gone", 4 * NEWS_MS, () => last().includes(left));
    });
  });
}

describe("limits", () => {
  const client = CLIENTS.find(({ longPoll }) => !longPoll);

  it("a key that is too long refuses the join with a reason", async (t) => {
    const socket = await connect(t, server, client);
    const { status, response } = await answer(socket.channel("who:x", { key: "x".repeat(129) }).join());
    assert.deepEqual([status, response.reason], ["error", "bad_presence"]);
  });

  it("no client publishes in the name of the server", async (t) => {
    const socket = await connect(t, server, client);
    const channel = socket.channel("room:names");
    await answer(channel.join());
    for (const event of ["gap", "presence_state", "presence_diff", "presence_count"]) {
      const { status, response } = await answer(channel.push(event, {}));
      assert.deepEqual([status, response.reason], ["error", "bad_event"]);
    }
  });
});
