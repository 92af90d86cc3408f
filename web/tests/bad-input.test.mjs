// Bad input, from outside: every answer has its stable code and names the field or the limit,
// nothing is half done, and the client can go on asking.

import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";

import { RawSocket } from "./raw-socket.mjs";
import { run, serve } from "./start.mjs";
import { eventually } from "./wait.mjs";

const CONFIG = `
[[view]]
dataset = "store"
table = "items"
name = "stock"
topic = "product:{product_id}"
event = "stock"

[[live]]
topic = "room:*"
anyone_publishes = true

[log]
segment_bytes = 65536
keep_bytes = 1048576
snapshot_after_bytes = 1048576
`;
const MIB = 1024 * 1024;
const SOON_MS = 10_000;
const HOUR_MS = 60 * 60 * 1000;

const server = await serve({ after }, CONFIG);
let datasets = 0;

describe("bad names and paths", () => {
  it("an unknown dataset, table, journal or row is named in a 404", async () => {
    const { dataset, read } = await newTable();
    const before = await read();

    await refused("GET", "/v1/datasets/nobody", 404, "unknown_dataset", /"nobody"/);
    await refused("DELETE", "/v1/datasets/nobody", 404, "unknown_dataset", /"nobody"/);
    await refused("GET", "/v1/datasets/nobody/changes", 404, "unknown_dataset", /"nobody"/);
    await refusedCommit("nobody", [], 404, "unknown_dataset", /"nobody"/);
    const rows = `/v1/datasets/${dataset}/tables`;
    await refused("GET", `${rows}/nothing/rows`, 404, "unknown_table", /"nothing"/);
    await refused("GET", `${rows}/nothing`, 404, "unknown_table", /"nothing"/);
    await refused("DELETE", `${rows}/nothing`, 404, "unknown_table", /"nothing"/);
    await refused("GET", `${rows}/things/rows/zz`, 404, "row_not_found", /"zz" in table "things"/);
    const writes = [
      [{ op: "put", table: "nothing", key: "k", row: {} }, "unknown_table", /ops\[1\].*"nothing"/],
      [{ op: "append", journal: "nothing", text: "x" }, "unknown_journal", /ops\[1\].*"nothing"/],
      [{ op: "patch", table: "things", key: "zz", fields: {} }, "row_not_found", /ops\[1\].*"zz"/],
      [{ ...ADD, key: "zz" }, "row_not_found", /ops\[1\].*"zz"/],
    ];
    for (const [op, code, detail] of writes) {
      await refusedCommit(dataset, [PUT, op], 404, code, detail);
    }

    assert.deepEqual(await read(), before);
  });

  it("a name that may not be is refused with its fault", async () => {
    const { dataset } = await newTable();
    const faults = [
      ["Upper", /"Upper" holds 'U' at byte 0/],
      ["9th", /"9th" holds '9' at byte 0/],
      ["a.b", /"a.b" holds '.' at byte 1/],
      ["a%20b", /"a b" holds ' ' at byte 1/],
      ["n".repeat(65), /65 bytes long, the limit is 64/],
    ];
    for (const [name, detail] of faults) {
      for (const path of [name, `${dataset}/tables/${name}`, `${dataset}/journals/${name}`]) {
        await refused("PUT", `/v1/datasets/${path}`, 400, "bad_name", detail);
      }
    }
    const { tables, journals } = await server.must("GET", `/v1/datasets/${dataset}`);
    assert.deepEqual([tables.map(({ name }) => name), journals], [["things"], {}]);
  });

  it("a path that is not UTF-8 is refused like any other name", async () => {
    const detail = /%ff does not decode to UTF-8/;
    await refused("GET", "/v1/datasets/%ff", 400, "bad_name", detail);
    await refused("GET", "/v1/datasets/a/tables/b/rows/%ff", 400, "bad_name", detail);
  });

  it("an unknown path is 404, and a method that a path does not take is 405", async () => {
    await refused("GET", "/v2/datasets", 404, "not_found", /\/v2\/datasets/);
    await refused("GET", "/v1/datasets/a/nothing", 404, "not_found", /\/v1\/datasets\/a\/nothing/);
    await refused("PATCH", "/v1/datasets/a", 405, "method_not_allowed", /datasets\/a .*PATCH/);
    const commits = "/v1/datasets/a/commits";
    const { headers } = await refused("GET", commits, 405, "method_not_allowed", /commits .*GET/);
    assert.equal(headers.get("allow"), "POST");
  });

  it("a parameter that is unknown, twice there or out of range is named", async () => {
    const { dataset, rows } = await newTable();
    const faults = [
      [`${rows}?limit=0`, /limit is 0, allowed is 1 to 1000/],
      [`${rows}?limit=1001`, /limit is 1001, allowed is 1 to 1000/],
      [`${rows}?limit=-1`, /limit: /],
      [`${rows}?limit=many`, /limit: /],
      [`${rows}?limit=1&limit=2`, /duplicate field `limit`/],
      [`${rows}?limt=1`, /`limt`, expected one of `after`, `prefix`, `key`, `limit`, `at_least`/],
      [`/v1/datasets/${dataset}/changes?follow=maybe`, /follow: .*`true` or `false`/],
      [`/v1/datasets/${dataset}/changes?from=1`, /`from`/],
    ];
    for (const [path, detail] of faults) await refused("GET", path, 400, "bad_query", detail);
  });
});

describe("bad bodies", () => {
  it("malformed JSON is refused with line and column", async () => {
    const { dataset, read } = await newTable();
    const before = await read();
    const put = '{"op":"put","table":"things","key":"b","row":{}}';
    const faults = [
      ["", /line 1 column 0/],
      ["nonsense", /line 1 column 2/],
      [`{"ops":[\n ${put},\n  {"op":]}`, /line 3 column 9/],
      [`{"ops":[${put}`, /EOF .*line 1 column 56/],
      [`{"ops":[${put}]} {}`, /trailing characters at line 1 column 60/],
      [Buffer.concat([Buffer.from('{"ops":"'), Buffer.of(0xff), Buffer.from('"}')]), /column 9/],
    ];
    for (const [body, detail] of faults) {
      await refusedBody(dataset, body, 400, "bad_json", detail);
    }

    assert.deepEqual(await read(), before);
  });

  it("a body that is not the wanted object says what is missing or too much", async () => {
    const { dataset, read } = await newTable();
    const before = await read();
    const list = JSON.stringify([null, [PUT]]);
    const faults = [
      [list, "bad_json", /not a JSON object/],
      ["7", "bad_json", /not a JSON object/],
      ["{}", "bad_json", /missing field `ops`/],
      ['{"ops":null}', "bad_json", /ops: not a list/],
      ['{"ops":{}}', "bad_json", /ops: not a list/],
      ['{"ops":[],"ops":[]}', "bad_json", /the field "ops" for the second time/],
      [JSON.stringify({ ops: [PUT], opts: 1 }), "bad_json", /unknown field `opts`/],
      ['{"ops":[]}', "empty_commit", /no operation/],
    ];
    for (const [body, code, detail] of faults) {
      await refusedBody(dataset, body, 400, code, detail);
    }
    const table = `/v1/datasets/${dataset}/tables/more`;
    await refused("PUT", table, 400, "bad_json", /boolean/, '{"public":1}');
    await refused("PUT", table, 400, "bad_json", /`pubic`, expected `public`/, '{"pubic":true}');
    await refused("PUT", table, 400, "bad_json", /not a JSON object/, "[true]");

    assert.deepEqual(await read(), before);
    await refused("GET", table, 404, "unknown_table", /"more"/);
  });

  it("an operation that does not read is named with its field", async () => {
    const { dataset, read } = await newTable();
    const before = await read();
    const faults = [
      [1, /not a JSON object/],
      [["delete", "things", "a"], /not a JSON object/],
      [{ table: "things", key: "a" }, /missing field `op`/],
      [{ ...PUT, op: "upsert" }, /unknown variant `upsert`, expected one of `put`/],
      [{ ...PUT, ttl: 4 }, /unknown field `ttl`/],
      [{ op: "put", table: "things", key: "b" }, /missing field `row`/],
      [{ ...PUT, row: [1] }, /row: .*sequence/],
      [{ ...PUT, key: 5 }, /key: .*integer `5`/],
      [{ ...PUT, key: "" }, /key: is empty/],
      [{ ...PUT, key: "k\n" }, /key: holds '\\n' at byte 1/],
      [{ ...PUT, key: "k".repeat(257) }, /key: is 257 bytes long, the limit is 256/],
      [{ ...PUT, table: 5 }, /table: .*integer `5`/],
      [{ ...PUT, table: "Things" }, /table: holds 'T' at byte 0/],
      [{ ...ADD, by: 1.5 }, /by: .*floating point `1.5`/],
      [{ ...ADD, by: "1" }, /by: .*string "1"/],
      [{ ...ADD, by: 1e30 }, /by: .*1e\+30/],
      [{ ...ADD, min: "0" }, /min: .*string "0"/],
      [{ op: "append", journal: "log" }, /text or base64/],
      [{ op: "append", journal: "log", text: "a", base64: "YQ==" }, /text or base64/],
      [{ op: "append", journal: "log", base64: "###" }, /base64: /],
      [{ op: "append", journal: "log", text: "x".repeat(262145) }, /262145 .*limit is 262144/],
      [{ op: "require", table: "things", key: "a", unchanged_since: "x" }, /unchanged_since: /],
      [{ op: "require", table: "things", key: "b", exists: false, equals: {} }, /exists: /],
    ];
    for (const [op, detail] of faults) {
      await refusedCommit(dataset, [PUT, op], 400, "bad_operation", /^ops\[1\]: /, detail);
    }

    assert.deepEqual(await read(), before);
  });

  it("a condition that does not compile is refused with line and column of it", async () => {
    const { dataset, read } = await newTable();
    const before = await read();
    const faults = [
      ["row.n >\n  rwo.n", /where: line 2, column 3: unknown name "rwo"/],
      ["row.n > > 2", /where: line 1, column 9: /],
      ["", /where: line 1, column 1: /],
      ["(".repeat(40) + ")".repeat(40), /where: line 1, column 41: Syntax error/],
      ["[".repeat(400) + "]".repeat(400), /where: line 1, column \d+: .*[Rr]ecursion limit/],
      ["1" + " + 1".repeat(300) + " > 0", /where: line 1, column \d+: nested deeper than 256/],
      ["x".repeat(4097), /where: .*4097 bytes long, the limit is 4096/],
      [3, /where: /],
    ];
    for (const [where, detail] of faults) {
      const require = { op: "require", table: "things", key: "a", where };
      await refusedCommit(dataset, [PUT, require], 400, "bad_operation", /^ops\[1\]: /, detail);
    }

    assert.deepEqual(await read(), before);
  });

  it("what is over a limit is refused, and the limit named", async () => {
    const { dataset, read } = await newTable();
    const before = await read();
    const put = (key, row) => ({ op: "put", table: "things", key, row });
    const patch = { op: "patch", table: "things", key: "a", fields: { t: nested(40) } };
    const many = Array.from({ length: 1001 }, (_, n) => put(`m${n}`, {}));
    const faults = [
      [[put("b", { t: "x".repeat(256 * 1024) })], "row_too_large", /262152 .*limit is 262144/],
      [[put("b", { t: nested(32) })], "row_too_deep", /deeper than 32 levels/],
      [[put("b", { t: nested(200) })], "row_too_deep", /deeper than 32 levels/],
      [[patch], "row_too_deep", /deeper than 32 levels/],
      [many, "too_many_operations", /1001 operations, the limit is 1000/],
    ];
    for (const [ops, code, detail] of faults) {
      await refusedCommit(dataset, [PUT, ...ops].slice(-1001), 413, code, detail);
    }
    const deepest = `${"[".repeat(100_000)}${"]".repeat(100_000)}`;
    const deep = `{"ops":[{"op":"put","table":"things","key":"b","row":{"t":${deepest}}}]}`;
    await refusedBody(dataset, deep, 413, "row_too_deep", /32 levels/);
    const large = JSON.stringify({ ops: [PUT, put("c", { t: "x".repeat(MIB) })] });
    await refusedBody(dataset, large, 413, "body_too_large", /the limit is 1048576 bytes/);
    const table = `/v1/datasets/${dataset}/tables/more`;
    const padded = `{"public":true${" ".repeat(4096)}}`;
    await refused("PUT", table, 413, "body_too_large", /the limit is 4096 bytes/, padded);

    assert.deepEqual(await read(), before);
  });

  it("what is exactly at a limit is taken", async () => {
    const { dataset, read } = await newTable();
    const put = (key, row) => ({ op: "put", table: "things", key, row });
    const many = Array.from({ length: 999 }, () => ({ op: "delete", table: "things", key: "x" }));

    await server.commit(dataset, [
      put("k".repeat(256), { t: "x".repeat(256 * 1024 - '{"t":""}'.length) }),
      ...many,
    ]);
    await server.commit(dataset, [put("deep", { t: nested(31) })]);

    assert.deepEqual(Object.keys(await read()), ["a", "deep", "k".repeat(256)]);
  });
});

describe("bad operations", () => {
  it("an add to what is no integer says what is there", async () => {
    const { dataset, read } = await newTable();
    const before = await read();
    for (const [field, found] of [
      ["text", "a text"],
      ["float", "a number that is no 64-bit integer"],
      ["list", "a list"],
      ["none", "nothing"],
    ]) {
      const detail = new RegExp(`ops\\[1\\]: field "${field}" of row "a" holds ${found}`);
      await refusedCommit(dataset, [PUT, { ...ADD, field }], 409, "wrong_type", detail);
    }

    assert.deepEqual(await read(), before);
  });

  it("an add out of its bounds or of 64 bits names value and bounds", async () => {
    const { dataset, read } = await newTable();
    const before = await read();
    const refusedAdd = (fields, detail) => {
      const add = JSON.stringify({ ...ADD, ...fields }).replaceAll(/"(-?\d{19})"/g, "$1");
      const body = `{"ops":[${JSON.stringify(PUT)},${add}]}`;
      return refusedBody(dataset, body, 409, "out_of_bounds", /ops\[1\]: field "n"/, detail);
    };

    await refusedAdd({ by: -8, min: 0 }, /would become -1, allowed is 0 to/);
    await refusedAdd({ by: 3, max: 9 }, /would become 10, allowed is -9223372036854775808 to 9/);
    await refusedAdd({ by: "9223372036854775807" }, /would become 9223372036854775814/);
    const least = { ...ADD, field: "least", by: -1 };
    const detail = /"least" .*would become -9223372036854775809/;
    await refusedCommit(dataset, [PUT, least], 409, "out_of_bounds", detail);

    assert.deepEqual(await read(), before);
  });

  it("of a commit whose requirement fails nothing happens", async () => {
    const { dataset, read, position } = await newTable();
    await server.commit(dataset, [{ ...ADD, by: 1 }]);
    const before = await read();
    const head = (await server.must("GET", `/v1/datasets/${dataset}`)).position;
    const faults = [
      [{ key: "zz", exists: true }, /does not exist/],
      [{ key: "zz" }, /does not exist/],
      [{ exists: false }, /the row exists/],
      [{ equals: { n: 9 } }, /field "n" is 8, not 9/],
      [{ equals: { n: "8" } }, /field "n" is 8, not "8"/],
      [{ where: "row.n > 8" }, /"row.n > 8" is false/],
      [{ where: "row.none > 8" }, /No such key: none/],
      [{ where: "row.n" }, /boolean is needed/],
      [{ unchanged_since: position }, /has changed since/],
      [{ unchanged_since: foreign(position) }, /another history/],
    ];
    for (const [condition, detail] of faults) {
      const require = { op: "require", table: "things", key: "a", ...condition };
      const ops = [PUT, { ...ADD, key: "b" }, { op: "create_table", table: "more" }, require];
      await refusedCommit(dataset, ops, 409, "condition_failed", /ops\[3\]: .*"things"/, detail);
    }

    assert.deepEqual(await read(), before);
    const status = await server.must("GET", `/v1/datasets/${dataset}`);
    assert.deepEqual([status.position, status.tables.length], [head, 1]);
  });

  it("a commit id is a UUIDv7 of the last day, or refused", async () => {
    const { dataset, read } = await newTable();
    const before = await read();
    const now = Date.now();
    const faults = [
      ["x", 400, "id_invalid"],
      [7, 400, "id_invalid"],
      [crypto.randomUUID(), 400, "id_invalid"],
      [uuid7(now + HOUR_MS / 5), 400, "id_invalid"],
      [uuid7(now - 25 * HOUR_MS), 410, "id_expired"],
    ];
    for (const [id, status, code] of faults) {
      const body = JSON.stringify({ id, ops: [PUT] });
      await refusedBody(dataset, body, status, code, /commit id is/);
    }

    assert.deepEqual(await read(), before);
    for (const ms of [now + HOUR_MS / 12, now - 23 * HOUR_MS]) {
      await server.must("POST", commits(dataset), { id: uuid7(ms), ops: [PUT] });
    }
  });

  it("a commit id takes effect once, and with other operations never", async () => {
    const { dataset, read } = await newTable();
    const id = uuid7(Date.now());
    const send = (ops) => server.request("POST", commits(dataset), { id, ops });

    const replies = await Promise.all([1, 2, 3].map(() => send([ADD])));
    const other = await send([{ ...ADD, by: 5 }]);
    const last = await send([ADD]);

    assert.deepEqual([other.status, other.body.code], [409, "id_conflict"]);
    const effects = replies.filter(({ body }) => !body.replayed);
    assert.equal(effects.length, 1);
    const { body } = effects[0];
    for (const reply of [...replies, last]) {
      const replayed = reply !== effects[0];
      assert.deepEqual([reply.status, reply.body], [200, { ...body, replayed }]);
    }
    assert.equal((await read()).a.n, 8);
  });
});

describe("bad positions", () => {
  it("one that is garbage is refused over HTTP, and a reset on a channel", async (t) => {
    const { dataset, rows, topic, position } = await newTable();
    const socket = await RawSocket.open(t, server);
    for (const since of ["x", "", "0", position.slice(1), `${position}-0`]) {
      const query = `since=${encodeURIComponent(since)}`;
      const changes = `/v1/datasets/${dataset}/changes?${query}`;
      await refused("GET", changes, 400, "bad_position", /^since: /);
      const at = rows + `?at_least=${encodeURIComponent(since)}`;
      await refused("GET", at, 400, "bad_position", /^at_least: /);
      assert.equal((await socket.join(topic, { since })).response.mode, "reset");
    }
    const feed = await fetch(`${server.url}/v1/datasets/${dataset}/changes`, {
      headers: { ...(await server.authorization()), "last-event-id": "x" },
    });
    assert.deepEqual([feed.status, (await feed.json()).code], [400, "bad_position"]);
    for (const since of [7, {}, []]) {
      assert.equal((await socket.join(topic, { since })).response.mode, "reset");
    }
    await socket.beats();
  });

  it("one of a dataset that was made anew belongs to another history", async (t) => {
    const { dataset, rows, topic, position } = await newTable();
    await server.must("DELETE", `/v1/datasets/${dataset}`);
    await server.createPublicTable(dataset, "things");
    await server.commit(dataset, [PUT]);

    const changes = `/v1/datasets/${dataset}/changes?since=${position}`;
    await refused("GET", changes, 409, "other_history", /another history/);
    await refused("GET", `${rows}?at_least=${position}`, 409, "other_history", /another history/);
    const socket = await RawSocket.open(t, server);
    const { response } = await socket.join(topic, { since: position });

    assert.equal(response.mode, "reset");
    assert.deepEqual(response.rows.map(({ payload }) => payload.key), ["b"]);
  });

  it("one from the future is refused, and a read waits for it only so long", async (t) => {
    const { dataset, rows, topic, position } = await newTable();
    const ahead = position.replace(/-\d{20}-/, "-00000000000000009999-");
    const late = refused("GET", `${rows}?at_least=${ahead}`, 503, "position_not_reached", /5 sec/);
    const socket = await RawSocket.open(t, server);

    const changes = `/v1/datasets/${dataset}/changes?since=${ahead}`;
    await refused("GET", changes, 409, "position_ahead", /ahead of the log/);
    const neverGiven = changes.replace(ahead, position.replace(/\d$/, "9"));
    await refused("GET", neverGiven, 409, "position_ahead", /ahead of the log/);
    const { status, response } = await socket.join(topic, { since: ahead });

    assert.deepEqual([status, response.reason], ["error", "position_ahead"]);
    assert.equal(response.position, position);
    assert.equal((await socket.join(topic, { since: position })).response.mode, "resume");
    await late;
  });

  it("one whose history is trimmed is told so, and a channel starts over", async (t) => {
    const { dataset, topic, position } = await newTable();
    const changes = `/v1/datasets/${dataset}/changes`;
    const headers = await server.authorization();
    const row = { text: "x".repeat(500) };
    const keys = Array.from({ length: 1000 }, (_, n) => `${n}`);
    const ops = keys.map((key) => ({ op: "put", table: "things", key, row }));

    // What is beyond `keep_bytes` goes when two snapshots cover it, and those follow commits.
    await eventually("the log is trimmed", SOON_MS, async () => {
      await server.commit(dataset, ops);
      const { log_floor } = await server.must("GET", `/v1/datasets/${dataset}`);
      return log_floor > 4;
    });

    await refused("GET", `${changes}?since=${position}`, 410, "position_trimmed", /at entry \d+/);
    const socket = await RawSocket.open(t, server);
    const { response } = await socket.join(topic, { since: position });

    assert.deepEqual([response.mode, response.pending], ["reset", true]);
    const kept = await (await fetch(server.url + changes, { headers })).text();
    assert.ok(JSON.parse(kept.split("\n")[0]).position > position);
  });
});

describe("without rights", () => {
  it("no key is 401, and a wrong key 403", async () => {
    const { dataset, read } = await newTable();
    const before = await read();
    for (const [method, path, body] of [
      ["GET", "/v1/datasets"],
      ["PUT", "/v1/datasets/mine"],
      ["DELETE", `/v1/datasets/${dataset}`],
      ["PUT", `/v1/datasets/${dataset}/tables/mine`],
      ["DELETE", `/v1/datasets/${dataset}/tables/things`],
      ["POST", commits(dataset), JSON.stringify({ ops: [PUT] })],
      ["GET", `/v1/datasets/${dataset}/changes`],
      ["POST", "/v1/topics/room:1", '{"event":"e","payload":{}}'],
    ]) {
      for (const [authorization, status, code] of [
        [undefined, 401, "key_required"],
        ["Basic x", 401, "key_required"],
        ["Bearer x", 403, "wrong_key"],
      ]) {
        const headers = authorization ? { authorization } : {};
        const answer = await fetch(server.url + path, { method, body, headers });
        assert.deepEqual([answer.status, (await answer.json()).code], [status, code], path);
        assert.equal(answer.headers.get("www-authenticate"), status === 401 ? "Bearer" : null);
      }
    }

    assert.deepEqual(await read(), before);
    await refused("GET", "/v1/datasets/mine", 404, "unknown_dataset", /"mine"/);
  });

  it("a table that is not public is no more known than one that is not there", async (t) => {
    const { dataset } = await newTable();
    await server.must("PUT", `/v1/datasets/${dataset}/tables/secret`, {});
    for (const table of ["secret", "nothing"]) {
      for (const what of ["rows", "rows/a", "snapshot"]) {
        const url = `${server.url}/v1/datasets/${dataset}/tables/${table}/${what}`;
        const answer = await fetch(url);
        assert.deepEqual([answer.status, (await answer.json()).code], [401, "key_required"]);
      }
      const socket = await RawSocket.open(t, server);
      const { status, response } = await socket.join(`table:${dataset}/${table}`);
      assert.deepEqual([status, response], ["error", { reason: "unmatched topic" }]);
      await socket.beats();
    }
  });
});

describe("bad frames", () => {
  it("a frame that does not read is answered with its code, and the socket lives", async (t) => {
    const socket = await RawSocket.open(t, server);
    const faults = [
      ["nonsense", "bad_json"],
      ['{"topic":"room:1"}', "bad_frame"],
      ['["1","2"]', "bad_frame"],
      ['[null,"3",5,"x",{}]', "bad_frame"],
      ['[null,{},"room:1","x",{}]', "bad_frame"],
      [Buffer.of(), "bad_frame"],
      [Buffer.of(0, 200, 1, 1, 1), "bad_frame"],
      [Buffer.of(0, 1, 1, 1, 1, 0xff, 49, 97, 97), "bad_utf8"],
      [Buffer.of(9, 1, 2), "unknown_binary_kind"],
    ];
    for (const [frame, code] of faults) {
      socket.send(frame);
      const [, , topic, event, payload] = await socket.next(`${code} for ${frame}`, () => true);
      assert.deepEqual([topic, event, payload.code], ["phoenix", "error", code]);
      await socket.beats();
    }
  });

  it("a frame with a fault that says who asks is answered as a request", async (t) => {
    const socket = await RawSocket.open(t, server);
    const faults = [
      ["room:1", "phx_join", [], "payload_not_object"],
      ["room:1", "said", "text", "payload_not_object"],
      ["room:1", "said", null, "payload_not_object"],
      ["r".repeat(256), "phx_join", {}, "topic_too_long"],
      ["room:1", "e".repeat(256), {}, "event_too_long"],
    ];
    for (const [topic, event, payload, code] of faults) {
      const { status, response } = await socket.ask(topic, event, payload);
      assert.deepEqual([status, response.code], ["error", code]);
    }
    await socket.beats();
  });

  it("a frame over 1 MiB closes the socket with 1009, a text that is none with 1007", async (t) => {
    const large = await RawSocket.open(t, server);
    const exact = await RawSocket.open(t, server);
    const other = await RawSocket.open(t, server);

    large.send("x".repeat(MIB + 1));
    exact.send("x".repeat(MIB));
    other.sendBytesAsText(Buffer.of(0xff, 0xfe));

    assert.equal(await large.closed, 1009);
    assert.equal(await other.closed, 1007);
    await exact.next("an answer", ([, , , , { code }]) => code === "bad_json");
    await exact.beats();
  });

  it("sixteen bad frames in a row close the socket with 1008, and fifteen do not", async (t) => {
    const socket = await RawSocket.open(t, server);
    const bad = (count) => Array.from({ length: count }, () => socket.send("nonsense"));

    bad(15);
    await socket.beats();
    bad(15);
    await socket.beats();
    bad(16);

    assert.equal(await socket.closed, 1008);
  });
});

describe("bad joins and pushes", () => {
  it("a topic that nothing declares is refused", async (t) => {
    const { dataset } = await newTable();
    const socket = await RawSocket.open(t, server);
    for (const topic of [
      "stock:1",
      "product",
      "table:things",
      `table:${dataset}/nothing`,
      "table:nobody/things",
      "room",
      "",
    ]) {
      const { status, response } = await socket.join(topic);
      assert.deepEqual([status, response], ["error", { reason: "unmatched topic" }], topic);
    }
    await socket.beats();
  });

  it("the 101st channel of a socket is refused, and the others live", async (t) => {
    const socket = await RawSocket.open(t, server);
    for (let n = 1; n <= 100; n += 1) {
      assert.equal((await socket.join(`room:${n}`)).status, "ok");
    }

    const { status, response } = await socket.join("room:101");

    assert.deepEqual([status, response], ["error", { reason: "too many channels joined" }]);
    assert.equal((await socket.ask("room:100", "said", {})).status, "ok");
    await socket.ask("room:1", "phx_leave", {});
    assert.equal((await socket.join("room:101")).status, "ok");
  });

  it("a push to a table or a view is refused, and not delivered", async (t) => {
    const { dataset, topic, read } = await newTable();
    const before = await read();
    const [pusher, listener] = [await RawSocket.open(t, server), await RawSocket.open(t, server)];
    for (const joined of [topic, "product:1"]) {
      await pusher.join(joined);
      await listener.join(joined);
      for (const event of ["row", "gone", "stock", "leave"]) {
        const payload = { key: "a", row: { n: 1 } };
        const { status, response } = await pusher.ask(joined, event, payload);
        assert.deepEqual([status, response.reason], ["error", "push_refused"]);
      }
      const binary = await pusher.askBinary(joined, "row", Buffer.of(1, 2));
      assert.deepEqual([binary.status, binary.response.reason], ["error", "push_refused"]);
    }
    await server.commit(dataset, [PUT]);
    const [, , of, event, payload] = await listener.next("the commit", () => true);

    assert.deepEqual([of, event, payload.key], [topic, "row", "b"]);
    assert.deepEqual(await read(), { ...before, b: PUT.row });
  });

  it("a push to what is not joined, of a reserved event or too large, is refused", async (t) => {
    const socket = await RawSocket.open(t, server);
    const listener = await RawSocket.open(t, server);
    const room = `room:${++datasets}`;
    await listener.join(room);

    const stranger = await socket.ask(room, "said", {});
    await socket.join(room);
    const reserved = await socket.ask(room, "phx_close", {});
    const large = await socket.ask(room, "said", { text: "x".repeat(64 * 1024) });
    await socket.ask(room, "said", { last: true });

    assert.deepEqual(stranger, { status: "error", response: { reason: "unmatched topic" } });
    assert.deepEqual([reserved.status, reserved.response.reason], ["error", "reserved event"]);
    assert.deepEqual([large.status, large.response.reason], ["error", "payload_too_large"]);
    assert.match(large.response.detail, /limit is 65536/);
    const [, , , event, payload] = await listener.next("the last one", () => true);
    assert.deepEqual([event, payload], ["said", { last: true }]);
  });

  it("over HTTP only live topics take what is published", async (t) => {
    const { topic } = await newTable();
    const listener = await RawSocket.open(t, server);
    await listener.join(topic);
    await listener.join("room:http");
    const publish = (to, status, code, detail, body = { event: "e", payload: {} }) => {
      const path = `/v1/topics/${encodeURIComponent(to)}`;
      return refused("POST", path, status, code, detail, JSON.stringify(body));
    };

    await publish(topic, 404, "unmatched_topic", /table:/);
    await publish("product:1", 404, "unmatched_topic", /product:1/);
    await publish("nobody", 404, "unmatched_topic", /nobody/);
    const live = (...rest) => publish("room:http", ...rest);
    await live(400, "bad_event", /phx_reply/, { event: "phx_reply", payload: {} });
    await live(400, "bad_event", /255/, { event: "", payload: {} });
    await live(400, "bad_event", /255/, { event: "e".repeat(256), payload: {} });
    await live(400, "bad_json", /missing field `event`/, { payload: {} });
    await live(400, "bad_json", /payload: not a JSON object/, { event: "e", payload: 3 });
    await live(400, "bad_json", /not a JSON object/, ["e", {}]);
    const full = { event: "e", payload: { text: "x".repeat(65_526) } };
    await live(413, "payload_too_large", /limit is 65536/, full);
    const over = { event: "e", payload: { text: "x".repeat(MIB) } };
    await live(413, "body_too_large", /limit is 66560 bytes/, over);

    await server.must("POST", "/v1/topics/room:http", { event: "last", payload: {} });
    const [, , , event] = await listener.next("the last one", () => true);
    assert.equal(event, "last");
  });
});

describe("a start that cannot be", () => {
  it("a view that does not compile ends it with line and column", async (t) => {
    const { code, stderr } = await startWith(t, [
      "[[view]]",
      'dataset = "store"',
      'table = "items"',
      'name = "stock"',
      'topic = "product:{product_id}"',
      'event = "stock"',
      "filter = '''row.released &&",
      "  rwo.count > 0'''",
    ]);

    assert.equal(code, 2);
    assert.match(stderr, /instep.toml: line 8, column 3: view\[0\].filter: unknown name "rwo"/);
  });

  it("an unknown key, a wrong type or no TOML at all ends it with the line", async (t) => {
    const faults = [
      [["drain_ms = 1", "htpp = 2"], /instep\.toml: .*line 2[\s\S]*htpp/],
      [["", "[log]", "segment_bites = 1"], /line 3[\s\S]*segment_bites/],
      [["", "drain_ms = 'long'"], /line 2[\s\S]*drain_ms/],
      [["[log]", "nonsense"], /line 2/],
      [["[log]", "segment_bytes = 1"], /log\.segment_bytes: from 1024/],
      [["[[live]]", "topic = 'table:*'"], /live\[0\]\.topic/],
    ];
    for (const [lines, words] of faults) {
      const { code, stderr } = await startWith(t, lines);
      assert.equal(code, 2);
      assert.match(stderr, words);
    }
  });

  it("a port that is taken ends it with the port", async (t) => {
    const { host, port } = new URL(server.url);

    const { code, stderr } = await startWith(t, [], "--http", host);

    assert.equal(code, 6);
    assert.match(stderr, new RegExp(`127\\.0\\.0\\.1:${port}`));
  });

  it("data that another server has ends it with their place", async () => {
    const { code, stderr } = await run("serve", "--data", server.data, "--http", "127.0.0.1:0");

    assert.equal(code, 5);
    assert.ok(stderr.includes(server.data));
  });
});

// What the tests are written in.

/** Operations to be changed by each test: on their own they are good. */
const PUT = { op: "put", table: "things", key: "b", row: { n: 1 } };
const ADD = { op: "add", table: "things", key: "a", field: "n", by: 1 };

/** A public table with a row `a`, and how it is at any time. */
async function newTable() {
  const dataset = `bad-${++datasets}`;
  await server.createPublicTable(dataset, "things");
  // JSON.stringify has no 64-bit integers.
  const row = '{"n":7,"text":"x","float":1.5,"list":[],"least":-9223372036854775808}';
  const ops = `[{"op":"put","table":"things","key":"a","row":${row}}]`;
  const { status, body } = await send("POST", commits(dataset), `{"ops":${ops}}`);
  assert.equal(status, 200);
  const rows = `/v1/datasets/${dataset}/tables/things/rows`;
  const read = async () => {
    const page = await server.must("GET", rows);
    return Object.fromEntries(page.rows.map(({ key, row }) => [key, row]));
  };
  return { dataset, rows, topic: `table:${dataset}/things`, position: body.position, read };
}

function commits(dataset) {
  return `/v1/datasets/${dataset}/commits`;
}

/** A request with the admin key and a body that is sent as it is. */
async function send(method, path, body) {
  const headers = await server.authorization();
  const answer = await fetch(server.url + path, { method, body, headers });
  const text = await answer.text();
  const type = answer.headers.get("content-type");
  assert.match(type ?? "", /json/, `${method} ${path}: ${answer.status} ${text}`);
  return { status: answer.status, headers: answer.headers, type, body: JSON.parse(text) };
}

/** Asks for what is refused: as a problem with this code, whose detail matches. */
async function refused(method, path, status, code, detail, body) {
  const answer = await send(method, path, body);
  const { body: problem } = answer;
  const said = `${method} ${path}: ${JSON.stringify(problem)}`;
  assert.deepEqual([answer.status, problem.code, problem.status], [status, code, status], said);
  assert.equal(answer.type, "application/problem+json");
  assert.equal(problem.type, "about:blank");
  for (const words of [detail].flat()) assert.match(problem.detail, words);
  return answer;
}

function refusedBody(dataset, body, status, code, ...details) {
  return refused("POST", commits(dataset), status, code, details, body);
}

function refusedCommit(dataset, ops, status, code, ...details) {
  return refusedBody(dataset, JSON.stringify({ ops }), status, code, ...details);
}

/** Lists in lists, so many levels. */
function nested(levels) {
  return Array.from({ length: levels }).reduce((inner) => [inner], 1);
}

/** The same place in another history. */
function foreign(position) {
  return position.replace(/^.{32}/, "0".repeat(32));
}

/** A UUIDv7 of this time. */
function uuid7(ms) {
  const time = ms.toString(16).padStart(12, "0");
  const random = crypto.randomUUID().slice(15);
  return `${time.slice(0, 8)}-${time.slice(8)}-7${random}`;
}

/** Starts a server with a configuration of these lines, which is to fail. */
async function startWith(t, lines, ...args) {
  const data = await mkdtemp(join(tmpdir(), "instep-"));
  t.after(() => rm(data, { recursive: true }));
  const file = join(data, "instep.toml");
  await writeFile(file, lines.join("\n"));
  const address = args.length > 0 ? args : ["--http", "127.0.0.1:0"];
  return run("serve", "--config", file, "--data", join(data, "data"), ...address);
}
