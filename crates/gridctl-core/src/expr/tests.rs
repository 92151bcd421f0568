//! Tests of the expression language: each table is a list of what a user might write.

use super::*;

fn names(name: &str) -> Option<Value> {
    Some(match name {
        "n" => Value::Int(7),
        "lr" => Value::Float(0.1),
        "one" => Value::Float(1.0),
        "model.lr" => Value::Float(0.5),
        "opt" => Value::Str("adam".to_owned()),
        "val/loss (mean)" => Value::Float(2.5),
        "yes" => Value::Bool(true),
        "layers" => Value::List(vec![Value::Int(64), Value::Int(32)]),
        "gone" => Value::Null,
        _ => return None,
    })
}

fn value(source: &str) -> String {
    let expr = Expr::parse(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    match expr.eval(&names) {
        Ok(value) => value.to_json(),
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn an_expression_has_the_value_that_python_would_give_it() {
    let cases = [
        ("n == 7 and opt == 'adam'", "true"),
        ("n == 7.0 and one == 1", "true"),
        ("1 + 2 * 3 - 4", "3"),
        ("2 ** 3 ** 2", "512"),
        ("-2 ** 2", "-4"),
        ("2 ** -1", "0.5"),
        ("7 % 3 + -7 % 3 + 7 % -3", "1"),
        ("7 / 2", "3.5"),
        ("6 / 3", "2.0"),
        ("0.5 % 0.2 < 0.11", "true"),
        ("not n == 7 or yes", "true"),
        ("not (n == 7 or yes)", "false"),
        ("1 < n < 10", "true"),
        ("1 < n < 5 < 1 / 0", "false"),
        ("1 < n <= 7 != 8", "true"),
        ("opt in ['sgd', \"adam\"]", "true"),
        ("opt not in ['sgd', \"adam\"]", "false"),
        ("n in [1, 2 + 5, lr]", "true"),
        ("-1 in [-1, -2.5]", "true"),
        ("64 in layers and layers == [64, 32.0]", "true"),
        ("[64, 32] in [[1], layers]", "true"),
        ("n in []", "false"),
        ("model.lr == 0.5", "true"),
        ("`model.lr` == .5", "true"),
        ("`val/loss (mean)` > 2", "true"),
        ("yes", "true"),
        ("yes == True and gone == None and gone == null", "true"),
        ("'it\\'s' == \"it's\"", "true"),
        ("'C:\\dir' == \"C:\\\\dir\"", "true"),
        ("n\n  >= 7", "true"),
        ("9223372036854775807 + 1 > 9.2e18", "true"),
        ("9007199254740993 == 9007199254740992", "false"),
    ];
    for (source, expected) in cases {
        assert_eq!(value(source), expected, "{source}");
    }
}

#[test]
fn what_is_absent_or_of_another_kind_is_never_equal_and_never_in_order() {
    let cases = [
        ("gone == 0", "false"),
        ("nowhere == 'x'", "false"),
        ("nowhere != 'x'", "true"),
        ("nowhere < 1 or nowhere >= 1", "false"),
        ("opt < 1 or opt >= 1", "false"),
        ("opt == 1", "false"),
        ("yes == 1", "false"),
        ("nowhere + 1 > 0", "false"),
        ("not nowhere", "true"),
        ("nowhere and yes", "false"),
        ("1 in nowhere", "false"),
        ("nowhere in [null]", "true"),
    ];
    for (source, expected) in cases {
        assert_eq!(value(source), expected, "{source}");
    }
}

#[test]
fn what_has_no_value_says_why_and_only_where_it_is_reached() {
    let cases = [
        ("n / 0", "error: division by zero in `7 / 0`"),
        ("n % 0.0", "error: division by zero in `7 % 0`"),
        ("opt + 1", "error: `+` needs numbers, not `adam`"),
        ("n and yes", "error: `7` is neither true nor false; compare it with something"),
        ("n in opt", "error: `in` needs a list, not `adam`"),
        ("0 ** -1", "error: `0 ** -1` is out of range"),
        ("(-8) ** 0.5", "error: `-8 ** 0.5` is out of range"),
        ("1e308 * 10", "error: `1e+308 * 10` is out of range"),
        ("yes or n / 0", "true"),
        ("n == 8 and n / 0", "false"),
    ];
    for (source, expected) in cases {
        assert_eq!(value(source), expected, "{source}");
    }
    assert_eq!(Expr::parse("n").unwrap().is_true(&names), Err(EvalError::NotBool(Value::Int(7))));
    assert_eq!(Expr::parse("gone").unwrap().is_true(&names), Ok(false));
}

#[test]
fn a_mistake_is_shown_where_it_stands_with_what_to_write() {
    let cases = [
        ("", 0..0, "the expression is empty", ""),
        ("a && b", 2..4, "`&&` is not an operator here", "write `and`"),
        ("a || b", 2..4, "`||` is not an operator here", "write `or`"),
        ("a = 1", 2..3, "`=` is not an operator here", "write `==` to compare"),
        ("a === 1", 2..5, "`===` is not an operator here", "write `==`"),
        ("!a", 0..1, "`!` is not an operator here", "write `not`"),
        ("a <> 1", 2..4, "`<>` is not an operator here", "write `!=`"),
        ("a AND b", 2..5, "expected an operator or the end, found `AND`", "write `and`"),
        ("a is None", 2..4, "expected an operator or the end, found `is`", "write `==` or `!=`"),
        ("max(a, b) > 1", 3..4, "expected an operator or the end, found `(`", "there are no functions"),
        ("a ==", 4..4, "expected a name, a number, text or `(`, found the end", ""),
        ("a == 1 2", 7..8, "expected an operator or the end, found `2`", ""),
        ("(a == 1", 0..1, "`(` is never closed", "add `)`"),
        ("a in [1, 2", 5..6, "`[` is never closed", "add `]`"),
        ("a in [1 2]", 8..9, "expected `,` or `]`, found `2`", ""),
        ("a == 'x", 5..6, "`'` is never closed", "close the text with another '"),
        ("`a == 1", 0..1, "``` is never closed", "close the name with another backtick"),
        ("`` == 1", 0..2, "an empty name", ""),
        (
            "a == 010",
            5..8,
            "`010` is not a number that can be used here",
            "write the number without leading zeros, or as text in quotes",
        ),
        (
            "a == 1_000",
            5..10,
            "`1_000` is not a number that can be used here",
            "write the number without `_`",
        ),
        (
            "a < 10k",
            4..7,
            "`10k` is not a number that can be used here",
            "write a number as `10`, `0.5` or `1e-3`, and text in quotes",
        ),
        (
            "a < 1e309",
            4..9,
            "`1e309` is not a number that can be used here",
            "the largest number is about 1.8e308",
        ),
        (
            "a < 99999999999999999999",
            4..24,
            "`99999999999999999999` is not a number that can be used here",
            "whole numbers go up to 9223372036854775807; write `1e19` for more",
        ),
        ("${a} == 1", 0..1, "unexpected character `$`", "names stand by themselves: write `lr`, not `${lr}`"),
        ("a == “x”", 5..8, "unexpected character `“`", "write text in straight quotes: 'adam'"),
        ("a == \u{1b}", 5..6, "unexpected character `\\u{1b}`", ""),
    ];
    for (source, span, message, help) in cases {
        let error = Expr::parse(source).unwrap_err();
        assert_eq!(error.span, span, "{source}");
        assert_eq!(error.to_string(), message, "{source}");
        assert_eq!(error.help.unwrap_or_default(), help, "{source}");
    }
}

#[test]
fn names_come_once_each_in_order_with_their_place() {
    let expr = Expr::parse("b > 1 and `a b` < b.c or b == 2").unwrap();
    assert_eq!(expr.names(), ["b", "a b", "b.c"]);
    assert_eq!(expr.name_spans(), [0..1, 10..15, 18..21]);
}

#[test]
fn it_is_serialised_as_its_source_and_checked_when_read() {
    let expr: Expr = serde_json::from_str("\"a > 1\"").unwrap();
    assert_eq!(serde_json::to_string(&expr).unwrap(), "\"a > 1\"");
    let error = serde_json::from_str::<Expr>("\"a >\"").unwrap_err();
    assert!(error.to_string().contains("found the end"), "{error}");
}

#[test]
fn s33_size_depth_and_huge_exponents_are_bounded() {
    let problem = |source: String| Expr::parse(&source).map(|_| ()).map_err(|error| error.problem);
    let deep = |n: usize, open: &str, close: &str| format!("{}1{}", open.repeat(n), close.repeat(n));
    assert_eq!(problem(deep(MAX_DEPTH, "(", ")")), Ok(()));
    assert_eq!(problem(deep(MAX_DEPTH + 1, "(", ")")), Err(Problem::TooDeep));
    assert_eq!(problem(deep(2000, "[", "]")), Err(Problem::TooDeep));
    assert_eq!(problem(deep(2000, "-", "")), Err(Problem::TooDeep));
    assert_eq!(problem(deep(900, "not ", "")), Err(Problem::TooDeep));
    assert_eq!(problem(format!("1{}", " ** 1".repeat(65))), Err(Problem::TooDeep));
    assert_eq!(problem(format!("1{}", "+1".repeat(499))), Ok(()));
    assert_eq!(problem(format!("1{}", "+1".repeat(500))), Err(Problem::TooManyNodes));
    assert_eq!(problem(format!("a in [{}]", vec!["7"; MAX_LIST].join(","))), Ok(()));
    assert_eq!(problem(format!("a in [{}]", vec!["7"; MAX_LIST + 1].join(","))), Err(Problem::ListTooLong));
    assert_eq!(problem("1".repeat(MAX_SOURCE + 1)), Err(Problem::TooLong { bytes: MAX_SOURCE + 1 }));
    assert_eq!(value("10 ** 1000000000"), "error: `10 ** 1000000000` is out of range");
    assert_eq!(value("9 ** 9 ** 9 ** 9"), "error: `9 ** 387420489` is out of range");
    let worst =
        format!("({}) * (n < 1 < 2)", vec!["(".repeat(60) + "n or not n" + &")".repeat(60); 8].join("and"));
    assert!(matches!(Expr::parse(&worst), Ok(expr) if expr.eval(&names).is_err()));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_parser_or_the_evaluation_panic(
        source in "([a-c0-9.'\"`()\\[\\], <>=!+*/%-]|and|or|not|in|not in|==|\\*\\*|é| ){0,40}"
    ) {
        if let Ok(expr) = Expr::parse(&source) {
            drop(expr.eval(&|name| (name != "c").then_some(Value::Int(3))));
        }
    }
}
