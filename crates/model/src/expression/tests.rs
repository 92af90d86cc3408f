use serde_json::json;

use super::*;

fn evaluate(source: &str, row: Value) -> Result<Value, EvaluationError> {
    let row = from_fields(row.as_object().unwrap());
    let mut meter = Meter::new(limits::EXPRESSION_STEPS);
    Expression::compile(source, &["row"]).unwrap().evaluate(&[("row", &row)], &mut meter)
}

#[test]
fn arithmetic_works_on_json_numbers() {
    let row = json!({"count": 3, "price": 1.5, "big": u64::MAX, "name": "a"});

    assert_eq!(evaluate("row.count - 1 > 1", row.clone()), Ok(json!(true)));
    assert_eq!(evaluate("row.count + 1", row.clone()), Ok(json!(4)));
    assert_eq!(evaluate("row.price * 2.0", row.clone()), Ok(json!(3.0)));
    assert_eq!(evaluate("row.big", row.clone()), Ok(json!(u64::MAX)));
    assert_eq!(evaluate("{'n': row.name, 'l': [row.count]}", row), Ok(json!({"n": "a", "l": [3]})));
}

#[test]
fn expressions_that_do_not_compile_are_refused_with_line_and_column() {
    let error = |source: &str| Expression::compile(source, &["row", "key"]).unwrap_err();

    let spot = |source: &str| (error(source).spot.line, error(source).spot.column);
    assert_eq!(spot("row.a ==\n && 1"), (2, 2));
    assert_eq!(spot("row.a == 'é' && && 1"), (1, 17));
    assert_eq!(spot("row.a == 1 &&\n rwo.b"), (2, 2));
    assert_eq!(spot("'é' == row.a && w.b"), (1, 17), "not the w of row");
    assert_eq!(spot("row.a.all(x, row.b.all(y, y))"), (1, 23));
    let message = error("row.a == 1 && rwo.b").message;
    assert_eq!(message, "unknown name \"rwo\"; known are row, key");
    assert!(error(&"x".repeat(limits::EXPRESSION_BYTES + 1)).message.contains("limit"));
}

#[test]
fn a_function_that_is_not_there_is_refused_when_an_expression_is_compiled() {
    let message = |source: &str| Expression::compile(source, &["row"]).unwrap_err().message;
    for (source, name) in [
        ("row.naem.startWith('x')", "startWith"),
        ("foo(row.x)", "foo"),
        ("row.l.exists(x, x.strtsWith('a'))", "strtsWith"),
        ("true || [nothing()] == []", "nothing"),
        ("{'a': row.b.c()}", "c"),
        ("row.l.all(1)", "all"),
        ("timestamp(row.at) > timestamp('2026-01-01T00:00:00Z')", "timestamp"),
        ("_x_(row)", "_x_"),
    ] {
        assert_eq!(message(source), format!("unknown function {name:?}"), "{source}");
    }
    assert!(message("startsWith(row.x, 'a')").contains("x.startsWith(…)"));
    assert!(message("row.x.int() > 1").contains("int(x)"));
    assert_eq!(message("Row{a: 1} == row"), "unknown name \"Row\"; known are row");
    let error = Expression::compile("row.a == 1 &&\n row.b.startWith('x')", &["row"]);
    assert_eq!(error.unwrap_err().spot.line, 2);
}

#[test]
fn the_functions_of_the_documents_are_there() {
    let document = include_str!("../../../../docs/reference/commits.md");
    let table = document.split_once("| function |").unwrap().1;
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let mut calls = 0;
    for row in rows {
        for call in row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2) {
            let compiled = Expression::compile(call, &["row", "key"]);
            compiled.unwrap_or_else(|error| panic!("{call}: {error}"));
            calls += 1;
        }
    }
    assert!(calls > 15, "{calls}");
}

#[test]
fn depth_is_that_of_the_tree_whatever_quotes_and_comments_say() {
    let chain = format!("1{} == 1", "+1".repeat(1_300));
    for source in [
        chain.clone(),
        format!(r"'\'' == '' || {chain}"),
        format!("false // '\n || {chain}"),
        format!(r#"r"\" == '"' || {chain}"#),
        format!("\"\"\"\"'\"\"\" == '' || {chain}"),
        format!("1{}", " in 1".repeat(limits::EXPRESSION_BYTES / 5 - 1)),
    ] {
        let error = Expression::compile(&source, &[]).unwrap_err();
        assert!(error.message.contains("deeper than"), "{error}");
    }
    for open in ["(", "[", "{", "!", "-", "! ", "f(", "true?", "[1].map(x,", "1+", "a.", "a["] {
        let source = open.repeat(limits::EXPRESSION_BYTES / open.len());
        assert!(Expression::compile(&source, &[]).is_err(), "{open}");
    }
}

#[test]
fn the_deepest_trees_that_pass_do_not_overflow_a_thread_of_2_mib() {
    let row = from_fields(&Fields::new());
    for item in ["1+", "1==", "1<", "true||", "false?1:", "!", "-", "size([", "1 in ", "(1-"] {
        let mut deepest = 0;
        for count in (1..=limits::EXPRESSION_DEPTH + 8).rev() {
            let source = item.repeat(count) + "1";
            let closed = source.clone()
                + &"])".repeat(if item == "size([" { count } else { 0 })
                + &")".repeat(if item == "(1-" { count } else { 0 });
            if let Ok(expression) = Expression::compile(&closed, &["row"]) {
                let mut meter = Meter::new(limits::EXPRESSION_STEPS);
                let _ = expression.evaluate(&[("row", &row)], &mut meter);
                deepest = count;
                break;
            }
        }
        assert!(deepest >= 30, "{item}: {deepest}");
    }
}

#[test]
fn histories_that_were_long_enough_are_so_still() {
    let words = format!("row.a in [{}]", vec!["'a.b@c.d'"; 199].join(","));
    let sum = format!("1{}", "+1".repeat(200));
    let any = format!("row.a == 0{}", " || row.a == 1".repeat(60));

    assert_eq!(evaluate(&words, json!({"a": "a.b@c.d"})), Ok(json!(true)));
    assert_eq!(evaluate(&sum, json!({})), Ok(json!(201)));
    assert_eq!(evaluate(&any, json!({"a": 2})), Ok(json!(false)));
}

#[test]
fn a_text_is_matched_by_a_pattern_that_is_written_down() {
    let row = json!({"name": "boots", "of": "^b", "size": 41});

    assert_eq!(evaluate(r#"row.name.matches("^b")"#, row.clone()), Ok(json!(true)));
    assert_eq!(evaluate(r#"matches(row.name, "^o")"#, row.clone()), Ok(json!(false)));
    assert_eq!(evaluate(r"row.name.matches(r'\w{3}\p{L}+$')", row.clone()), Ok(json!(true)));
    assert!(evaluate(r#"row.size.matches("^4")"#, row).is_err(), "a number is no text");
    for (source, why) in [
        ("row.name ==\n 'a' || row.name.matches('(a')", "does not read"),
        ("row.name ==\n 'a' || row.name.matches(row.of)", "written down"),
        ("row.name ==\n 'a' || row.name.matches('(?:x{500}){500}')", "more than"),
        ("[1].all(x,\n row.name.matches('['))", "does not read"),
    ] {
        let error = Expression::compile(source, &["row"]).unwrap_err();
        assert!(error.spot.line == 2 && error.message.contains(why), "{error}");
    }
}

#[test]
fn a_pattern_costs_what_it_may_take_for_its_size_and_that_of_the_text() {
    let source = r#"row.s.matches("(x+x+)+y")"#;
    let steps = |length: usize, source: &str| {
        let row = json!({"s": "x".repeat(length)});
        let row = from_fields(row.as_object().unwrap());
        let mut meter = Meter::new(limits::EXPRESSION_STEPS);
        let expression = Expression::compile(source, &["row"]).unwrap();
        let done = expression.is_true(&[("row", &row)], &mut meter);
        done.map(|_| limits::EXPRESSION_STEPS - meter.left()).ok()
    };

    let (short, long) = (steps(100, source).unwrap(), steps(10_000, source).unwrap());
    assert!(long > 50 * short, "{short} then {long}");
    assert_eq!(steps(250_000, source), None);
    let large = r#"row.s.matches("(?:[a-w]x?){400}y")"#;
    assert!(steps(100, large).unwrap() > 10 * short);
    assert_eq!(steps(10_000, large), None);
}

#[test]
fn an_expression_takes_no_more_steps_than_it_may_whatever_it_is_made_of() {
    let numbers: Vec<u32> = (0..20_000).map(|n| n + 10).collect();
    let row = json!({
        "l": numbers, "s": "x".repeat(150_000), "t": vec!["y".repeat(200); 500],
        "m": {"a": vec!["z"; 20_000]},
    });
    for source in [
        "row.l.all(x, !(8 in row.l))",
        "row.l.map(x, row.s + row.s).size() > 0",
        "row.l.map(x, row.s).size() > 0",
        "row.l.map(x, [row.s]).size() > 0",
        "row.l.map(x, {'a': row.s}).size() > 0",
        "row.l.map(x, {row.s: 1}).size() > 0",
        "row.l.map(x, row.?s).size() > 0",
        "row.l.map(x, row[?'s']).size() > 0",
        "row.l.filter(x, row.s != row.s + 'a').size() > 0",
        "row.l.all(x, row.s == row.s)",
        "row.l.all(x, row.l == row.l)",
        "row.l.all(x, row.m != row)",
        "row.l.all(x, row.s <= row.s)",
        "row.l.all(x, row.s.contains('y') || true)",
        "row.l.all(x, row.s.endsWith(row.s))",
        "row.l.all(x, size(row.s) > 0)",
        "row.l.all(x, row.s.size() > 0)",
        "row.l.all(x, string(row.s) != 'a')",
        "row.l.all(x, bytes(row.s) != b'')",
        "row.l.all(x, (row.l + row.l).size() > 0)",
        "row.l.exists_one(x, [row.s, row.s] != [])",
        "row.l.map(x, row.l).size() > 0",
        "row.l.all(x, {'a': row.l}.a.size() > 0)",
        "row.l.all(x, dyn(row.s) != 'a')",
        "row.l.all(x, row.s in row.t + [row.s])",
        "row.l.all(x, [row.l][0].size() > 0 || row.nothing)",
    ] {
        let error = evaluate(source, row.clone()).expect_err(source);
        assert!(error.is_too_costly, "{source}: {error}");
    }
    for source in [
        "row.l.all(x, x >= 10)",
        "row.t.all(t, t != 'y')",
        "row.l.filter(x, x % 2 == 0).size() == 10000",
        "8 in row.l || 'a' in row.m",
        "row.s.contains('y') || row.s.size() == 150000",
    ] {
        assert_eq!(evaluate(source, row.clone()), Ok(json!(true)), "{source}");
    }
}

#[test]
fn a_meter_is_for_everything_that_is_run_with_it() {
    let row = from_fields(json!({"l": [1, 2, 3]}).as_object().unwrap());
    let expression = Expression::compile("row.l.all(x, x > 0)", &["row"]).unwrap();
    let mut meter = Meter::new(100);

    let mut runs = 0;
    while expression.is_true(&[("row", &row)], &mut meter) == Ok(true) {
        runs += 1;
    }

    assert!((2..10).contains(&runs), "{runs}");
    assert_eq!(meter.left(), 0);
}

#[test]
fn a_loop_knows_its_variable_and_only_inside() {
    let row = json!({"tags": ["a", "b"], "n": 2});

    assert_eq!(evaluate("row.tags.exists(t, t == 'b')", row.clone()), Ok(json!(true)));
    assert_eq!(evaluate("row.tags.map(t, t + '!')", row.clone()), Ok(json!(["a!", "b!"])));
    assert_eq!(
        evaluate("row.tags.filter(t, t != 'a').size() == 1 && row.tags.all(t, t < 'c')", row),
        Ok(json!(true))
    );
    let error = |source: &str| Expression::compile(source, &["row"]).unwrap_err().message;
    assert!(error("row.tags.all(t, u == t)").starts_with("unknown name \"u\""));
    assert!(error("row.tags.all(t, true) && t").starts_with("unknown name \"t\""));
    assert!(error("row.tags.all(t, b == a)").starts_with("unknown name \"b\""));
}

#[test]
fn loops_that_multiply_or_double_are_refused() {
    let ten = "[1,1,1,1,1,1,1,1,1,1]";
    let nested = (0..12).fold("true".to_owned(), |body, _| format!("{ten}.all(v, {body})"));
    let doubling = "['x']".to_owned() + &".map(a, a + a)".repeat(40);

    for source in [&*nested, &*doubling, "[[1].map(a, a)].all(b, true)"] {
        let error = Expression::compile(source, &["row"]).unwrap_err();
        assert!(error.message.contains("within one another"), "{error}");
    }
}

#[test]
fn a_result_that_repeats_itself_beyond_the_limit_is_an_error() {
    let row = json!({"tags": vec![0; 100], "s": "x".repeat(4_000)});

    let error = evaluate("row.tags.map(t, row.s)", row).unwrap_err();

    assert!(error.message.contains("larger than"), "{error}");
}

#[test]
fn a_missing_field_is_an_error_of_that_row() {
    let error = evaluate("row.count > 1", json!({})).unwrap_err();

    assert!(error.message.contains("count"), "{error}");
}
