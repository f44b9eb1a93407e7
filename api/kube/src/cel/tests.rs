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

/// What evaluations cost, to the unit.
// upstream: apiextensions-apiserver, pkg/apiserver/schema/cel/celcoststability_test.go
#[test]
fn costs_are_those_of_the_api_server() {
    let text = "Rook takes 👑";
    let object = json!({"val1": text, "n": 5, "f": 10.0, "array": [1, 1, 2, 2, 3, 3, 4, 5],
        "l1": [1, 2, 3], "l2": [1, 2, 3], "s1": ["a", "b", "c"], "m": {"a": 1, "b": 2},
        "b1": "QUI=", "enumStr": "Pending", "a1": {"b1": {"c1": 4}}});
    let variables = Variables::default().with("self", Value::of_json(&object));
    for (expression, cost) in [
        ("double(self.n) < 10.0", 4),
        ("double(5) < 10.0", 1),
        ("self.val1.startsWith('Rook')", 4),
        ("!self.val1.startsWith('knight')", 5),
        ("self.val1.matches('^[^0-9]*$')", 8),
        ("!self.val1.matches('^[0-9]*$')", 7),
        ("size(self.val1) == 12", 4),
        ("self.val1.charAt(3) == 'k'", 4),
        ("self.val1.indexOf('o') == 1", 4),
        ("self.val1.replace(' ', 'x') == 'Rookxtakesx👑'", 7),
        ("self.val1.split(' ') == ['Rook', 'takes', '👑']", 6),
        ("self.val1.substring(5) == 'takes 👑'", 5),
        ("self.val1.substring(4, 10).trim() == 'takes'", 6),
        ("self.val1.upperAscii() == 'ROOK TAKES 👑'", 6),
        ("self.val1.lowerAscii() == self.val1.lowerAscii()", 10),
        ("self.enumStr == 'Pending'", 3),
        ("self.enumStr in ['Pending', 'Available']", 2),
        ("1 in self.l1", 5),
        ("self.l2[0] in self.l1", 8),
        ("!(0 in self.l1)", 6),
        ("self.l1 + self.l2 == [1, 2, 3, 1, 2, 3]", 6),
        ("self.l1 + [4, 5] == [1, 2, 3, 4, 5]", 4),
        ("has(self.l1)", 1),
        ("has(self.l1) && has(self.l2)", 2),
        ("has(self.a1.b1.c1)", 3),
        ("sets.contains(self.s1, ['a'])", 6),
        ("sets.equivalent(self.s1, ['a', 'b', 'c'])", 21),
        ("sets.intersects(self.s1, ['a'])", 6),
        ("self.m == {'a': 1, 'b': 2}", 3),
        ("'a' in self.m", 3),
        ("self.m.all(k, self.m[k] > 0)", 17),
        ("!self.m.exists(k, self.m[k] == 3)", 20),
        ("self.m.exists_one(k, self.m[k] == 2)", 14),
        ("size(self.m.filter(k, self.m[k] > 1)) == 1", 26),
        ("self.m.all(k, v, v > 0)", 13),
        ("self.m.transformMap(k, v, v > 1, v + 1).size() == 1", 14),
        ("self.m.transformMap(k, v, v + 1).size() == 2", 15),
        ("self.m.transformMapEntry(k, v, {k + '2': v + 1}).size() == 2", 77),
        ("2 in self.array", 10),
        ("self.array.all(e, e > 0)", 43),
        ("self.array.exists(e, e > 2)", 36),
        ("self.array.exists_one(e, e > 4)", 22),
        ("!self.array.all(e, e < 2)", 21),
        ("!self.array.exists(e, e < 0)", 52),
        ("size(self.array.filter(e, e%2 == 0)) == 3", 68),
        ("self.array.map(e, e * 20).filter(e, e > 50).exists(e, e == 60)", 194),
        ("self.array.transformList(i, e, e > 2, e * 2).size() > 0", 77),
        ("self.array.transformList(i, e, e * 2).size() > 0", 117),
    ] {
        let program = Program::compile(expression, &[("self", Type::Dyn)]).unwrap();
        let (result, spent) = program.run(&variables, 1_000_000);
        assert_eq!((result, spent), (Ok(Value::Bool(true)), cost), "{expression}");
    }
}
