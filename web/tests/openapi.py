"""The OpenAPI document of a running server, held against the field's validator and the server.

openapi.py URL KEY - every check is a line `ok NAME` or `not ok NAME: REASON`. With
WRITE_EXAMPLES=crates/instep/src/api/examples.json the answers become the examples of the document.
"""

import hashlib
import json
import os
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

import jsonschema
from openapi_spec_validator import OpenAPIV31SpecValidator

URL, KEY = sys.argv[1:3]
METHODS = ("get", "put", "post", "delete")


def send(method, path, body=None, key=KEY, accept="*/*", lines=0, digest=None):
    """Answers (status, content type, body); of a stream the first lines."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"accept": accept, **({"authorization": f"Bearer {key}"} if key else {})}
    if digest:
        headers["instep-sha256"] = digest
    request = urllib.request.Request(URL + path, data, headers, method=method.upper())
    try:
        answer = urllib.request.urlopen(request, timeout=10)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        kind = (answer.headers.get("content-type") or "").split(";")[0]
        text = b"".join(answer.readline() for _ in range(lines)) if lines else answer.read()
    return answer.status, kind, json.loads(text) if kind.endswith(("/json", "+json")) else text.decode()


_, _, document = send("GET", "/openapi.json")
operations = {
    operation["operationId"]: (method, path, operation)
    for path, item in document["paths"].items()
    for method, operation in item.items()
}


def resolve(schema):
    while "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        schema = document["components"]["schemas"][name]
    return schema


def strict(schema):
    """The schema, with all that it does not describe forbidden."""
    if "$ref" in schema:
        return strict(resolve(schema))
    schema = dict(schema)
    for word in ("oneOf", "anyOf"):
        if word in schema:
            schema[word] = [strict(part) for part in schema[word]]
    if "allOf" in schema:
        merged = {"properties": {}, "required": []}
        for part in map(resolve, schema.pop("allOf")):
            merged["properties"] |= part.get("properties", {})
            merged["required"] += part.get("required", [])
        schema |= {"type": "object", **merged}
    if "items" in schema:
        schema["items"] = strict(schema["items"])
    if "properties" in schema:
        schema["properties"] = {k: strict(v) for k, v in schema["properties"].items()}
        schema.setdefault("additionalProperties", False)
    return schema


def check(name):
    def run(test):
        try:
            test()
            print("ok", name)
        except Exception as error:  # noqa: BLE001
            reason = getattr(error, "message", None) or f"{type(error).__name__}: {error}"
            print("not ok", f"{name}: {reason}".replace("\n", " ")[:2000])

    return run


@check("the document is valid OpenAPI 3.1")
def _():
    assert document["openapi"].startswith("3.1.")
    errors = [f"{list(e.absolute_path)}: {e.message}" for e in OpenAPIV31SpecValidator(document).iter_errors()]
    assert not errors, errors


@check("every operation has an id of its own, and every answer a description")
def _():
    assert len(operations) == sum(len(item) for item in document["paths"].values())
    for name, (method, path, operation) in operations.items():
        assert method in METHODS and operation["tags"] and operation["summary"], name
        for status, answer in operation["responses"].items():
            assert answer["description"], (name, status)
        if path.startswith("/v1/"):
            wanted = {"400", "401", "403", "429", "503"}
            assert wanted <= operation["responses"].keys(), (name, operation["responses"].keys())


@check("a parameter stands where it is read: names of the path in the path, others in the query")
def _():
    for name, (_, path, operation) in operations.items():
        given = [(p["name"], p["in"]) for p in operation.get("parameters", [])]
        assert len(set(given)) == len(given), name
        assert {n for n, place in given if place == "path"} == set(re.findall(r"{(\w+)}", path)), name


@check("refusals are declared as problems, in the form in which they are sent")
def _():
    for name, (_, path, operation) in operations.items():
        for status, answer in operation["responses"].items():
            if status >= "400":
                assert list(answer["content"]) == ["application/problem+json"], (name, status)


calls, sent_examples, answers = [], set(), {}


def bodies(name):
    """The examples of an operation's body, by their names; of one that is not JSON none."""
    content = operations[name][2]["requestBody"]["content"].get("application/json", {"examples": {}})
    return {one: example["value"] for one, example in content["examples"].items()}


def example(name, which, **known):
    """One of them, with what only a run knows."""
    sent_examples.add((name, which))
    return {**bodies(name)[which], **known}


def form(value):
    """What of an answer is the same in each run: its fields and their types."""
    match value:
        case dict():
            return {key: form(one) for key, one in sorted(value.items())}
        case list():
            return sorted({json.dumps(form(one)) for one in value})
        case bool() | None:
            return type(value).__name__
        case int() | float():
            return "number"
        case _:
            return "text"


def form_of_text(text):
    """The same of a text: of lines of JSON those of each, of events their names."""
    lines = [line for line in text.splitlines() if line]
    if lines and lines[0].startswith("{"):
        return form([json.loads(line) for line in lines])
    return [line for line in lines if line.startswith("event:")]


def compare(name, declared, status, reply):
    """An answer with its example; the first one of an operation is that."""
    if status >= 400:
        assert reply["code"] in declared["examples"], f"{name}: {status} does not name {reply['code']}"
        known, got = declared["examples"][reply["code"]]["value"], reply
        assert form(known) == form(got), f"{name}: {form(got)} and not {form(known)}"
        return
    if name in answers:
        return
    answers[name] = reply
    if "WRITE_EXAMPLES" in os.environ:
        return
    forms = [form_of_text(one) if isinstance(one, str) else form(one) for one in (declared["example"], reply)]
    assert forms[0] == forms[1], f"{name}: the example is {forms[0]}, the answer {forms[1]}"


def call(name, names=(), body=None, query="", wanted=None, lines=0, **more):
    """One request, whose answer must be as the document says, and nothing besides."""
    method, path, operation = operations[name]
    for value in names:
        path = re.sub(r"{\w+}", urllib.parse.quote(str(value), safe=""), path, count=1)
    status, kind, reply = send(method, path + query, body, lines=lines, **more)
    calls.append(name)
    declared = operation["responses"].get(str(status))
    assert declared, f"{name}: {status} is not declared: {reply}"
    wanted = wanted or min(code for code in operation["responses"])
    assert str(status) == str(wanted), f"{name}: {status} {reply}"
    if "content" not in declared:
        assert reply == "", f"{name}: a body"
        return reply
    assert kind in declared["content"], f"{name}: {kind} is not declared"
    compare(name, declared["content"][kind], status, reply)
    schema = declared["content"][kind]["schema"]
    whole = {**strict(schema), "components": document["components"]}
    try:
        jsonschema.Draft202012Validator(whole).validate(reply)
    except jsonschema.ValidationError as error:
        raise AssertionError(f"{name}: {error.json_path}: {error.message}") from error
    if "requestBody" in operation and status < 300 and isinstance(body, dict):
        sent = operation["requestBody"]["content"]["application/json"]["schema"]
        jsonschema.Draft202012Validator({**strict(sent), "components": document["components"]}).validate(body)
    return reply


def commit_each(position):
    """Each example of an operation of a commit, in an order in which all of them take effect."""
    described = document["components"]["schemas"]["CommitOperation"]["oneOf"]
    left = {one["properties"]["op"]["const"]: list(one["examples"]) for one in described}
    order = ["create_table", "create_journal", "create_queue", "put", "patch", "require", "add", "delete", "append",
             "move", "send", "import", "readdress", "retry", "drop_table"]
    for op in order:
        for given in left.pop(op):
            known = {}
            if op == "require":
                known = {"unchanged_since": position}
            if op == "move":
                now = call("move_endpoint", ["post"], example("move_endpoint", "at_first"))
                known = {"generation": now["generation"]}
            if op == "retry":
                known = {"seq": dead_letter()}
            reply = call("commit", ["post"], {"ops": [{**given, **known}]})
            position = reply["position"]
    assert not left, f"say where these stand in the order: {left}"


def dead_letter():
    """The number of a message that was rejected."""
    call("send_messages", ["post", "mail"], {"to": "server/8", "body": 1}, wanted=201)
    pulled = call("pull_messages", ["post", "8"], {"wait_ms": 1000})
    (message,) = pulled["messages"]
    said = {"registration": pulled["registration"], "reject": [{"seq": message["seq"], "reason": "no"}]}
    call("answer_messages", ["post", "8"], said)
    return message["seq"]


def mail():
    call("create_queue", ["post", "mail"])
    call("send_messages", ["post", "mail"], example("send_messages", "one"), wanted=422)
    for which in ("one", "several"):
        call("import_messages", ["post", "mail"], example("import_messages", which), wanted=201)
    moved = call("move_endpoint", ["post"], example("move_endpoint", "at_first"))
    assert moved["to"] == "7"
    call("move_endpoint", ["post"], example("move_endpoint", "unless_moved", generation=moved["generation"]))
    call("move_endpoint", ["post"], example("move_endpoint", "unless_moved", generation=99), wanted=409)
    call("backfill_routes", ["post", "mail"], example("backfill_routes", "from_the_start"))
    call("backfill_routes", ["post", "mail"], example("backfill_routes", "go_on"))
    call("audit_routes", ["post"])
    call("readdress_endpoint", ["post"], example("readdress_endpoint", "endpoint"))
    seqs = [one["seq"] for which in ("one", "several")
            for one in call("send_messages", ["post", "mail"], example("send_messages", which), wanted=201)["messages"]]
    call("list_messages", ["post", "mail"], query="?state=pending")
    call("list_messages", ["post", "mail"], query="?state=odd", wanted=400)
    call("list_servers", ["post"])
    call("list_servers", ["post"], query="?detail=true")
    pulled = call("pull_messages", ["post", "7"], example("pull_messages", "first"))
    assert len(pulled["messages"]) == 5, pulled
    registration = pulled["registration"]
    call("pull_messages", ["post", "7"], example("pull_messages", "again", registration=registration))
    call("pull_messages", ["post", "7"], example("pull_messages", "again", registration=99), wanted=409)
    first, dead = pulled["messages"][0]["seq"], seqs[-1]
    said = example("answer_messages", "each", registration=registration, ack=[first])
    said["nack"] = [{**said["nack"][0], "seq": seqs[0], "delay_ms": 10}]
    said["reject"] = [{**said["reject"][0], "seq": dead}]
    outcomes = call("answer_messages", ["post", "7"], said)["outcomes"]
    assert [one["outcome"] for one in outcomes] == ["ok"] * 3, outcomes
    for seq in (seqs[0], first, dead):
        call("show_message", ["post", "mail", seq])
    call("show_message", ["post", "mail", 9999], wanted=404)
    call("show_message", ["post", "none", 1], wanted=404)
    call("retry_message", ["post", "mail", dead])
    call("retry_message", ["post", "mail", first], wanted=400)
    call("show_mail", ["post"])


def follow(generation):
    """Follows a dataset as a site, so that others may take dumps of it; close what it answers."""
    path = f"/v1/datasets/post/changes?site=node1&generation={generation}&follow=true"
    return urllib.request.urlopen(urllib.request.Request(URL + path, headers={"authorization": f"Bearer {KEY}"}))


def sites():
    site = call("register_site", ["post", "node1"], example("register_site", "at_the_beginning"))
    generation, position = site["generation"], call("show_dataset", ["post"])["position"]
    call("register_site", ["post", "node2"], example("register_site", "where_it_stood", position=position), wanted=409)
    call("register_site", ["post", "Node"], example("register_site", "at_the_beginning"), wanted=400)
    call("acknowledge_site", ["post", "node1"], example("acknowledge_site", "position", generation=generation, position=position))
    call("acknowledge_site", ["post", "node1"], example("acknowledge_site", "position", generation=1, position=position), wanted=409)
    call("acknowledge_site", ["post", "none"], example("acknowledge_site", "position", position=position), wanted=404)
    dump = call("register_site", ["post", "node2"], example("register_site", "with_a_dump"))
    known = ["post", dump["dump"]]
    call("get_chunk", [*known, 0])
    call("get_chunk", [*known, 1], wanted=416)
    call("get_chunk", [*known, "x"], wanted=400)
    call("show_dump", known)
    call("show_dump", ["post", "none"], wanted=404)
    call("begin_dump", ["post", "node2"], query=f"?generation={dump['generation']}")
    call("fail_site", ["post", "node2"], example("fail_site", "record", generation=dump["generation"], position=position))
    call("skip_record", ["post", "node2"], example("skip_record", "record", position=position, record=2), wanted=409)
    call("skip_record", ["post", "node2"], example("skip_record", "record", position=position))
    call("skip_record", ["post", "none"], example("skip_record", "record", position=position), wanted=404)
    said, query = hashlib.sha256(b"some").hexdigest(), f"?generation={generation}"
    with follow(generation):
        dump = call("register_site", ["post", "node3"], {"start": "dump", "source": "node1"})["dump"]
    call("put_chunk", ["post", dump, 0], b"some", query=query + "&kind=file", digest=said)
    call("put_chunk", ["post", dump, 0], b"none", query=query + "&kind=file", digest=said, wanted=409)
    end = example("complete_dump", "end", position=position, sha256=said)
    call("complete_dump", ["post", dump], end, query=query)
    call("register_site", ["post", "node3"], example("register_site", "where_it_stood", position=position))
    # What is complete is shared; a dump of other tables is another one.
    some = {"tables": ["items"]}
    generation = call("register_site", ["post", "node1"], {"start": "beginning", **some})["generation"]
    with follow(generation):
        dump = call("register_site", ["post", "node4"], {"start": "dump", "source": "node1", **some})["dump"]
    call("fail_dump", ["post", dump], example("fail_dump", "reason"), query=f"?generation={generation}")
    call("get_chunk", ["post", dump, 0], wanted=410)
    call("seek_site", ["post", "node1"], example("seek_site", "position", position=position))
    ahead = position[:33] + "0" + "9" * 19 + position[-6:]
    call("seek_site", ["post", "node1"], example("seek_site", "position", position=ahead), wanted=409)
    call("seek_site", ["post", "none"], example("seek_site", "position", position=position), wanted=404)
    call("pause_site", ["post", "node1"])
    call("list_sites", ["post"])
    call("show_site", ["post", "node2"])
    call("show_site", ["post", "none"], wanted=404)
    call("unpause_site", ["post", "node1"])
    call("remove_site", ["post", "node1"])
    call("remove_site", ["post", "node1"], wanted=404)


@check("every operation answers as the document says, and with nothing that it does not say")
def _():
    for name in ("healthz", "readyz"):
        call(name)
    _, _, session = send("get", "/socket/longpoll?vsn=2.0.0")
    call("show_connection", [session["token"]])
    call("list_connections")
    call("create_dataset", ["store"])
    call("create_dataset", ["Bad name"], wanted=400)
    for which in ("public", "of_the_dataset"):
        call("create_table", ["store", which], example("create_table", which))
    call("create_table", ["none", "items"], example("create_table", "public"), wanted=404)
    call("create_journal", ["store", "log"])
    call("append_record", ["store", "log"], b"\x00\xff")
    call("append_record", ["store", "none"], b"a", wanted=404)
    call("append_record", ["store", "No"], b"a", wanted=400)
    call("append_record", ["store", "log"], b"a" * 262_145, wanted=413)
    call("list_records", ["store", "log"])
    call("list_records", ["store", "none"], wanted=404)
    call("commit", ["store"], example("commit", "first"))
    results = call("commit", ["store"], example("commit", "conditional"))["results"]
    assert results == [None, 2], results
    call("list_datasets")
    call("show_dataset", ["store"])
    call("show_dataset", ["none"], wanted=404)
    call("list_tables", ["store"])
    call("list_views", ["post"])
    call("show_table", ["store", "items"])
    call("show_table", ["store", "none"], wanted=404)
    ops = example("commit", "conditional")["ops"]
    refused = [
        (404, {"op": "patch", "table": "items", "key": "?", "fields": {}}),
        (404, {"op": "delete", "table": "none", "key": "?"}),
        (404, {"op": "append", "journal": "none", "text": ""}),
        (404, {"op": "send", "queue": "none", "to": "org/1", "body": 1}),
        (404, {"op": "retry", "seq": 9999}),
        (409, {"op": "require", "table": "items", "key": "7", "exists": False}),
        (409, {"op": "add", "table": "items", "key": "7", "field": "count", "by": -9, "min": 0}),
        (409, {"op": "add", "table": "items", "key": "7", "field": "name", "by": 1}),
        (413, {"op": "put", "table": "items", "key": "7", "row": {"text": "x" * 300_000}}),
        (400, {"op": "put", "table": "items"}),
        (400, {"op": "require", "table": "items", "key": "7", "where": "row."}),
        (422, {"op": "readdress", "endpoint": "org/9"}),
        (400, {"op": "readdress", "endpoint": "no endpoint"}),
    ]
    for status, op in refused:
        call("commit", ["store"], {"ops": [op]}, wanted=status)
    call("commit", ["store"], {"ops": []}, wanted=400)
    call("commit", ["store"], {"ops": ops, "id": "no"}, wanted=400)
    call("commit", ["store"], {"ops": ops * 501}, wanted=413)
    call("commit", ["store"], {"ops": ops}, wanted=401, key=None)
    call("commit", ["store"], {"ops": ops}, wanted=403, key="wrong")
    call("list_rows", ["store", "items"], query="?limit=1")
    call("list_rows", ["store", "items"], query="?limit=0", wanted=400)
    call("list_rows", ["store", "items"], query="?at_least=no", wanted=400)
    call("show_row", ["store", "items", "7"])
    call("show_row", ["store", "items", "no"], wanted=404)
    call("snapshot_table", ["store", "items"])
    call("follow_changes", ["store"])
    call("follow_changes", ["store"], query="?since=no", wanted=400)
    for which in ("once", "any"):
        call("publish", ["room:1"], example("publish", which))
    call("publish", ["nowhere"], example("publish", "any"), wanted=404)
    call("publish", ["room:1"], {"event": "", "payload": {}}, wanted=400)
    call("publish_many", [], example("publish_many", "two"))
    for name in ("show_topic", "list_presence"):
        call(name, ["room:1"])
    call("list_topics", query="?top=5")
    call("follow_topic", ["room:1"], lines=4, accept="text/event-stream")
    call("follow_topic", ["nowhere"], wanted=404)
    call("follow_named_topic", query="?topic=room:1", lines=4, accept="text/event-stream")
    call("follow_named_topic", wanted=400)
    call("show_connection", ["nobody"], wanted=404)
    call("drop_table", ["store", "items"])
    call("drop_table", ["store", "items"], wanted=404)
    mail()
    sites()
    commit_each(call("show_dataset", ["post"])["position"])
    call("remove_dataset", ["store"])
    call("remove_dataset", ["store"], wanted=404)
    missing = operations.keys() - set(calls)
    assert not missing, f"not asked: {missing}"
    every = {(name, which) for name in operations if "requestBody" in operations[name][2] for which in bodies(name)}
    assert every == sent_examples, f"examples that are not sent: {every - sent_examples}"


if "WRITE_EXAMPLES" in os.environ:
    with open(os.environ["WRITE_EXAMPLES"], encoding="utf8") as file:
        kept = json.load(file)
    kept["answers"] = {name: reply for name, reply in sorted(answers.items()) if reply != ""}
    with open(os.environ["WRITE_EXAMPLES"], "w", encoding="utf8") as file:
        json.dump(kept, file, indent=2, ensure_ascii=False)
        file.write("\n")


@check("a body may contain what the document says, and nothing else")
def _():
    registered = {"start": "beginning"}
    generation = send("post", "/v1/datasets/post/sites/node1", registered)[2]["generation"]
    with follow(generation):
        dump = send("post", "/v1/datasets/post/sites/node2", {"start": "dump", "source": "node1"})[2]["dump"]
    names = {"dataset": "post", "table": "t", "queue": "mail", "server": "7", "topic": "room:1", "site": "node1", "dump": dump}
    for name, (method, path, operation) in operations.items():
        content = operation.get("requestBody", {"content": {}})["content"].get("application/json")
        if not content:
            continue
        if "{dump}" in path:
            path += f"?generation={generation}"
        schema = resolve(content["schema"])
        schema = resolve(schema.get("oneOf", [schema])[0])
        described = set(schema["properties"])
        path = re.sub(r"{(\w+)}", lambda found: urllib.parse.quote(names[found[1]]), path)
        status, _, problem = send(method, path, {"?": 1})
        assert status == 400 and "unknown field" in problem["detail"], (name, problem)
        read = set(re.findall(r"`(\w+)`", problem["detail"].split("expected", 1)[1]))
        assert read == described, (name, read ^ described)
