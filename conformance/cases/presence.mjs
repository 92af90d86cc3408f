// R: who is there.

import assert from "node:assert/strict";

import { must } from "../case.mjs";

const STATE = "presence_state";
const DIFF = "presence_diff";

async function enter(t, topic, key) {
  const socket = await t.connect();
  return t.join(socket, topic, { [t.options["presence-key"]]: key });
}

const fresh = (t) => t.topic(t.name("presence"));

/** Folds everything heard on a channel's topic into `{key: [phx_ref, …]}`. */
function folded({ socket, topic }) {
  const list = new Map();
  const set = (key, refs) => (refs.length ? list.set(key, refs) : list.delete(key));
  const refsOf = (entry) => entry.metas.map(({ phx_ref }) => phx_ref);
  for (const { event, payload } of socket.heard.filter((frame) => frame.topic === topic)) {
    if (event === STATE) {
      list.clear();
      for (const [key, entry] of Object.entries(payload)) set(key, refsOf(entry));
    } else if (event === DIFF) {
      for (const [key, entry] of Object.entries(payload.joins)) {
        set(key, [...new Set([...(list.get(key) ?? []), ...refsOf(entry)])]);
      }
      for (const [key, entry] of Object.entries(payload.leaves)) {
        const gone = refsOf(entry);
        set(key, (list.get(key) ?? []).filter((ref) => !gone.includes(ref)));
      }
    }
  }
  return Object.fromEntries([...list].sort().map(([key, refs]) => [key, refs.toSorted()]));
}

/** Waits until a channel's list has these keys. */
async function sees(channel, keys) {
  const wanted = JSON.stringify(keys.toSorted());
  const now = () => JSON.stringify(Object.keys(folded(channel)).toSorted());
  const isPresence = ({ event, topic }) => topic === channel.topic && [STATE, DIFF].includes(event);
  while (now() !== wanted) {
    await channel.socket.next(`the list ${wanted}, which is ${now()}`, isPresence);
  }
  return folded(channel);
}

function isEntry({ metas }) {
  assert.ok(Array.isArray(metas) && metas.length > 0, "metas is a list");
  for (const { phx_ref } of metas) assert.equal(typeof phx_ref, "string");
}

export default [
  must("presence-state", "R1", "After a join comes presence_state with metas.", async (t) => {
    const channel = await enter(t, fresh(t), "ann");
    const state = await channel.next(STATE);
    Object.values(state.payload).forEach(isEntry);
    await sees(channel, ["ann"]);
  }),
  must("presence-state-others", "R1", "Who comes later is told of those before.", async (t) => {
    const topic = fresh(t);
    await sees(await enter(t, topic, "ann"), ["ann"]);
    await sees(await enter(t, topic, "bob"), ["ann", "bob"]);
  }),
  must("presence-diff", "R2", "A member that comes is told in joins.", async (t) => {
    const topic = fresh(t);
    const ann = await enter(t, topic, "ann");
    await sees(ann, ["ann"]);
    await enter(t, topic, "bob");
    const isBob = ({ event, payload }) => event === DIFF && "bob" in payload.joins;
    const { payload } = await ann.socket.next("bob in joins", isBob);
    assert.deepEqual(Object.keys(payload).sort(), ["joins", "leaves"]);
    isEntry(payload.joins.bob);
  }),
  must("presence-leave", "R3", "A member that leaves is told in leaves.", async (t) => {
    const topic = fresh(t);
    const [ann, bob] = [await enter(t, topic, "ann"), await enter(t, topic, "bob")];
    await sees(ann, ["ann", "bob"]);
    await bob.leave();
    await sees(ann, ["ann"]);
  }),
  must("presence-cut", "R3", "A member whose connection is cut is told in leaves.", async (t) => {
    const topic = fresh(t);
    const [ann, bob] = [await enter(t, topic, "ann"), await enter(t, topic, "bob")];
    await sees(ann, ["ann", "bob"]);
    await bob.socket.cut();
    await sees(ann, ["ann"]);
  }),
  must("presence-many-metas", "R4", "One key twice is one entry with two phx_refs.", async (t) => {
    const topic = fresh(t);
    const first = await enter(t, topic, "ann");
    const second = await enter(t, topic, "ann");
    const watcher = await enter(t, topic, "bob");
    const list = await sees(watcher, ["ann", "bob"]);
    assert.equal(new Set(list.ann).size, 2);
    await second.leave();
    const isLeave = ({ event, payload }) => event === DIFF && "ann" in payload.leaves;
    await watcher.socket.next("one ann less", isLeave);
    assert.equal((await sees(watcher, ["ann", "bob"])).ann.length, 1);
    assert.equal(first.status, "ok");
  }),
  must("presence-odd-key", "R4", "Any text can be a key.", async (t) => {
    const key = "constructor é😀\"";
    await sees(await enter(t, fresh(t), key), [key]);
  }),
  must("presence-same-list", "R5", "After much coming and going all see the same.", async (t) => {
    const topic = fresh(t);
    const keys = Array.from({ length: 12 }, (_, n) => `member-${n}`);
    const members = await Promise.all(keys.map((key) => enter(t, topic, key)));
    await Promise.all(members.slice(0, 4).map((member) => member.leave()));
    await Promise.all(members.slice(4, 8).map((member) => member.socket.cut()));
    const lists = await Promise.all(members.slice(8).map((member) => sees(member, keys.slice(8))));
    for (const list of lists) assert.deepEqual(list, lists[0]);
  }),
];
