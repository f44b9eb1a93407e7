//! Expressions and what they are.

use serde_json::json;

use super::{Program, Type, Value, Variables};

fn run(text: &str) -> Result<Value, String> {
    let object = json!({"n": 3, "s": "hello", "l": [1, 2, 3], "m": {"a": "x", "b": "y"},
        "items": [{"name": "a", "v": 1}, {"name": "b", "v": 2}], "empty": []});
    let program = Program::compile(text, &[("self", Type::Dyn)])?;
    let variables = Variables::default().with("self", Value::of_json(&object));
    program.run(&variables, 1_000_000).0.map_err(|e| e.to_string())
}

#[track_caller]
fn holds(text: &str) {
    assert_eq!(run(text), Ok(Value::Bool(true)), "{text}");
}

#[test]
fn the_language() {
    for text in [
        "1 + 2 * 3 == 7",
        "(1 + 2) * 3 == 9",
        "-7 / 2 == -3 && -7 % 2 == -1",
        "1.5 + 1.5 == 3.0 && 2u + 3u == 5u",
        "1 < 2 && 2.0 > 1 && 'a' < 'b'",
        "'a' + \"b\" == r'ab' && b'a' + b'b' == b'ab'",
        "'\\n\\x41\\u0042'.size() == 3",
        "self.n > 2 ? true : false",
        "self.s.startsWith('he') && self.s.endsWith('lo') && self.s.contains('ell')",
        "self.s.matches('^h.*o$') && size(self.s) == 5",
        "2 in self.l && !(5 in self.l) && 'a' in self.m",
        "self.l[0] == 1 && self.m['a'] == 'x'",
        "has(self.n) && !has(self.none)",
        "self.l.all(x, x > 0) && self.l.exists(x, x == 2) && self.l.exists_one(x, x == 3)",
        "self.l.map(x, x * 2) == [2, 4, 6] && self.l.filter(x, x > 1) == [2, 3]",
        "self.l.map(x, x > 1, x * 2) == [4, 6]",
        "self.m.all(k, self.m[k] != '') && self.m.map(k, k) == ['a', 'b']",
        "self.items.all(i, has(i.name)) && self.items.exists(i, i.v == 2)",
        "[1, 2].all(i, x, i < x) && {'a': 1}.transformMap(k, v, v + 1) == {'a': 2}",
        "[3, 4].transformList(i, x, i + x) == [3, 5]",
        "cel.bind(x, self.n + 1, x * x) == 16",
        "false && self.none == 1 || true",
        "duration('1h') > duration('59m') && duration('90s').getMinutes() == 1",
        "timestamp('2026-01-02T03:04:05Z').getFullYear() == 2026",
        "timestamp('2026-01-02T00:00:00Z') - timestamp('2026-01-01T00:00:00Z') == duration('24h')",
        "int('5') == 5 && string(5) == '5' && double('1.5') == 1.5 && type(1) == int",
        "null == null && dyn(1) == 1.0",
        "[] == self.empty && {} == {}",
    ] {
        holds(text);
    }
}

#[test]
fn the_libraries() {
    for text in [
        "'a,b'.split(',') == ['a', 'b'] && ['a', 'b'].join('-') == 'a-b'",
        "'Hello'.lowerAscii() == 'hello' && ' x '.trim() == 'x' && 'abc'.substring(1, 2) == 'b'",
        "'abcb'.indexOf('b') == 1 && 'abcb'.lastIndexOf('b') == 3 && 'aa'.replace('a', 'b', 1) == 'ba'",
        "'%s is %d, %.2f'.format(['x', 3, 1.5]) == 'x is 3, 1.50'",
        "'abc 123'.find('[0-9]+') == '123' && 'a1b2'.findAll('[0-9]') == ['1', '2']",
        "[1, 2, 3].sum() == 6 && [1, 2].isSorted() && [3, 1].min() == 1 && [1, 2, 1].indexOf(2) == 1",
        "sets.contains([1, 2], [1]) && sets.equivalent([1, 1], [1]) && !sets.intersects([1], [2])",
        "url('https://example.com:80/path?a=b').getHostname() == 'example.com' && isURL('/a') && !isURL('x')",
        "url('https://example.com:80/path').getPort() == '80' && url('https://e.c/p').getScheme() == 'https'",
        "ip('10.0.0.1').family() == 4 && isIP('::1') && !isIP('x') && ip('127.0.0.1').isLoopback()",
        "cidr('10.0.0.0/8').containsIP('10.1.2.3') && cidr('10.0.0.0/8').prefixLength() == 8",
        "cidr('10.0.0.0/8').containsCIDR(cidr('10.1.0.0/16'))",
        "quantity('1500m').isGreaterThan(quantity('1')) && quantity('1Ki').asInteger() == 1024",
        "quantity('50k').add(20).sub(quantity('20')).compareTo(quantity('50k')) == 0 && isQuantity('1.5')",
        "semver('1.2.3').isLessThan(semver('1.10.0')) && semver('v1.0', true).major() == 1",
        "!format.dns1123Label().validate('a-b').hasValue() && format.named('uuid').hasValue()",
        "format.dns1123Label().validate('A').value().size() == 1",
        "self.?none.orValue('d') == 'd' && self.?m.?a.orValue('d') == 'x' && optional.of(1).hasValue()",
        "self.?n.optMap(x, x + 1).orValue(0) == 4 && [?optional.none(), 1] == [1]",
        "math.greatest(1, 3, 2) == 3",
    ] {
        holds(text);
    }
}

#[test]
fn what_cannot_be_says_why() {
    for (text, why) in [
        ("self.none == 1", "no such key: none"),
        ("self.l[5] == 1", "index out of bounds: 5"),
        ("1 / 0 == 1", "division by zero"),
        ("9223372036854775807 + 1 == 0", "integer overflow"),
    ] {
        assert_eq!(run(text).unwrap_err(), why, "{text}");
    }
    let types = [("self", Type::Object(std::sync::Arc::new([("a".to_owned(), Type::Int)].into())))];
    for (text, why) in [
        ("self.b == 1", "ERROR: <input>:1:5: undefined field 'b'\n | self.b == 1\n | ....^"),
        (
            "x == 1",
            "ERROR: <input>:1:1: undeclared reference to 'x' (in container '')\n | x == 1\n | ^",
        ),
        (
            "self.a == 'x'",
            "ERROR: <input>:1:8: found no matching overload for '_==_' applied to '(int, string)'\n | self.a == 'x'\n | .......^",
        ),
    ] {
        assert_eq!(Program::compile(text, &types).unwrap_err(), why);
    }
    assert!(Program::compile("self.a ==", &types).unwrap_err().contains("Syntax error"));
}

#[test]
fn loops_cost_and_are_cut_off() {
    let list = Type::List(std::sync::Arc::new(Type::Int), 1000);
    let types = [("self", list)];
    let once = Program::compile("self.all(x, x > 0)", &types).unwrap();
    let twice = Program::compile("self.all(x, self.all(y, x > y))", &types).unwrap();
    assert!(once.cost_max > 1000 && twice.cost_max > once.cost_max * 500);
    let many = Value::list((0..1000).map(Value::Int).collect());
    let variables = Variables::default().with("self", many);
    let (result, spent) = once.run(&variables, 1_000_000);
    assert_eq!(result, Ok(Value::Bool(false)));
    assert!(spent < 20, "{spent}");
    let (result, _) = twice.run(&variables, 3);
    assert_eq!(result, Err(super::EvalError::Budget));
}
