// The OpenAPI document: the field's validator, real requests held against it, a generated client.

import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { python } from "./python.mjs";
import { serve } from "./start.mjs";

const CONFIG = `
[[mail]]
dataset = "post"

[[view]]
dataset = "post"
name = "released"
table = "items"
filter = "row.released"
topic = "released"
event = "item"

[[live]]
topic = "room:*"
history = 10
presence = "list"
`;

const server = await serve({ after }, CONFIG);
const key = (await server.authorization()).authorization.slice("Bearer ".length);
const script = (name) => fileURLToPath(new URL(name, import.meta.url));

describe("the OpenAPI document", async () => {
  const { output } = await python("python", [script("openapi.py"), server.url, key], 60_000);
  const checks = output.split("\n").filter((line) => /^(not )?ok /.test(line));
  it("is looked at", () => assert.ok(checks.length >= 6, output));
  for (const check of checks) {
    const [name] = check.replace(/^(not )?ok /, "").split(/: (?=[A-Z])/);
    it(name, () => assert.match(check, /^ok /));
  }
});

describe("a client generated from the OpenAPI document", () => {
  it("is generated without a warning, commits, reads, and takes mail", async (t) => {
    const folder = await mkdtemp(join(tmpdir(), "instep-generated-"));
    t.after(() => rm(folder, { recursive: true, force: true }));
    const args = [
      ...["generate", "--url", `${server.url}/openapi.json`, "--meta", "none", "--fail-on-warning"],
      ...["--output-path", join(folder, "instep_api"), "--config", script("openapi-client.yaml")],
    ];
    const generated = await python("openapi-python-client", args, 60_000);
    assert.equal(generated.code, 0, generated.output);

    const used = await python("python", [script("generated_client.py"), folder, server.url, key], 60_000);

    assert.equal(used.code, 0, used.output);
    assert.equal(used.output.trim(), "done");
  });
});
