"""The OpenAPI document of a running server, held against the field's validator and the server.

openapi.py URL KEY - every check is a line `ok NAME` or `not ok NAME: REASON`.
"""

import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

import jsonschema
from openapi_spec_validator import OpenAPIV31SpecValidator

URL, KEY = sys.argv[1:3]
METHODS = ("get", "put", "post", "delete")


def send(method, path, body=None, key=KEY, accept="*/*", lines=0):
    """Answers (status, content type, body); of a stream the first lines."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"accept": accept, **({"authorization": f"Bearer {key}"} if key else {})}
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


DATA = "/v1/datasets/store"
MAIL = "/v1/datasets/post"
LETTER = {"to": "org/42", "body": {"n": 1}}
calls = []


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
    schema = declared["content"][kind]["schema"]
    whole = {**strict(schema), "components": document["components"]}
    try:
        jsonschema.Draft202012Validator(whole).validate(reply)
    except jsonschema.ValidationError as error:
        raise AssertionError(f"{name}: {error.json_path}: {error.message}") from error
    if "requestBody" in operation and status < 300 and body is not None:
        sent = operation["requestBody"]["content"]["application/json"]["schema"]
        jsonschema.Draft202012Validator({**strict(sent), "components": document["components"]}).validate(body)
    return reply


def mail():
    call("create_queue", ["post", "mail"])
    call("import_messages", ["post", "mail"], LETTER, wanted=201)
    moved = call("move_endpoint", ["post"], {"endpoint": "org/42", "to": "7"})
    assert moved["to"] == "7"
    call("backfill_routes", ["post", "mail"], {})
    call("audit_routes", ["post"])
    call("readdress_endpoint", ["post"], {"endpoint": "org/42"})
    seqs = [call("send_messages", ["post", "mail"], body, wanted=201)["messages"][0]["seq"]
            for body in (LETTER, {"messages": [LETTER]})]
    call("list_messages", ["post", "mail"], query="?state=pending")
    call("list_servers", ["post"])
    call("list_servers", ["post"], query="?detail=true")
    pulled = call("pull_messages", ["post", "7"], {"max": 10, "wait_ms": 1000})
    assert len(pulled["messages"]) == 3, pulled
    first, dead = pulled["messages"][0]["seq"], seqs[-1]
    answers = {"registration": pulled["registration"], "ack": [first],
               "nack": [{"seq": seqs[0], "delay_ms": 10}], "reject": [{"seq": dead, "reason": "no"}]}
    outcomes = call("answer_messages", ["post", "7"], answers)["outcomes"]
    assert [one["outcome"] for one in outcomes] == ["ok"] * 3, outcomes
    for seq in (first, dead):
        call("show_message", ["post", "mail", seq])
    call("retry_message", ["post", "mail", dead])
    call("show_mail", ["post"])


@check("every operation answers as the document says, and with nothing that it does not say")
def _():
    for name in ("healthz", "readyz", "list_datasets", "list_connections"):
        call(name)
    call("create_dataset", ["store"])
    call("show_dataset", ["store"])
    call("create_table", ["store", "items"], {"public": True})
    call("list_tables", ["store"])
    call("list_views", ["store"])
    call("show_table", ["store", "items"])
    call("create_journal", ["store", "log"])
    ops = [
        {"op": "put", "table": "items", "key": "a", "row": {"n": 1, "tags": ["x", None]}},
        {"op": "patch", "table": "items", "key": "a", "fields": {"m": 2}},
        {"op": "add", "table": "items", "key": "a", "field": "n", "by": 2, "min": 0, "max": 9},
        {"op": "require", "table": "items", "key": "a", "equals": {"n": 3}, "where": "row.m == 2"},
        {"op": "append", "journal": "log", "text": "line"},
        {"op": "delete", "table": "items", "key": "b"},
    ]
    results = call("commit", ["store"], {"ops": ops})["results"]
    assert results == [None, None, 3, None, 1, None], results
    call("commit", ["store"], {"ops": [{"op": "patch", "table": "items", "key": "?", "fields": {}}]}, wanted=404)
    call("commit", ["store"], {"ops": [{"op": "require", "table": "items", "key": "a", "exists": False}]}, wanted=409)
    call("commit", ["store"], {"ops": ops}, wanted=401, key=None)
    call("commit", ["store"], {"ops": ops}, wanted=403, key="wrong")
    call("list_rows", ["store", "items"], query="?limit=1")
    call("show_row", ["store", "items", "a"])
    call("show_row", ["store", "items", "no"], wanted=404)
    call("snapshot_table", ["store", "items"])
    call("follow_changes", ["store"])
    call("follow_changes", ["store"], query="?since=no", wanted=400)
    call("publish", ["room:1"], {"event": "said", "payload": {"n": 1}})
    call("publish", ["nowhere"], {"event": "said", "payload": {}}, wanted=404)
    call("publish_many", [], {"messages": [{"topic": "room:1", "event": "said", "payload": {}, "id": "1"}]})
    for name in ("show_topic", "list_presence"):
        call(name, ["room:1"])
    call("list_topics", query="?top=5")
    call("follow_topic", ["room:1"], lines=3, accept="text/event-stream")
    call("follow_named_topic", query="?topic=room:1", lines=3, accept="text/event-stream")
    call("show_connection", ["nobody"], wanted=404)
    call("drop_table", ["store", "items"])
    mail()
    call("remove_dataset", ["store"])
    missing = operations.keys() - set(calls)
    assert not missing, f"not asked: {missing}"


@check("a body may contain what the document says, and nothing else")
def _():
    names = {"dataset": "post", "table": "t", "queue": "mail", "server": "7", "topic": "room:1"}
    for name, (method, path, operation) in operations.items():
        if "requestBody" not in operation:
            continue
        schema = resolve(operation["requestBody"]["content"]["application/json"]["schema"])
        schema = resolve(schema.get("oneOf", [schema])[0])
        described = set(schema["properties"])
        path = re.sub(r"{(\w+)}", lambda found: urllib.parse.quote(names[found[1]]), path)
        status, _, problem = send(method, path, {"?": 1})
        assert status == 400 and "unknown field" in problem["detail"], (name, problem)
        read = set(re.findall(r"`(\w+)`", problem["detail"].split("expected", 1)[1]))
        assert read == described, (name, read ^ described)
