from benchmarks.rounds import alternate, ratios


def test_the_order_rotates_and_warm_up_is_dropped():
    calls = []

    def turn(name):
        calls.append(name)
        return float(len(calls))

    values = alternate({name: lambda name=name: turn(name) for name in "abc"}, rounds=2, warm_up=1)
    assert "".join(calls) == "abcbcacab"
    assert values == {"a": [6.0, 8.0], "b": [4.0, 9.0], "c": [5.0, 7.0]}
    assert ratios(values["a"], values["c"]) == [6 / 5, 8 / 7]
