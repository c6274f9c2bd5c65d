#!/usr/bin/env python3
"""Write template_cases.json: small templates and what Python's jinja2, set up as transformers does, makes of them.

Run it beside the file it writes, with jinja2 3.1.6:  python3 make_template_cases.py
Every line of T is one template; all see the same context.  Left out, because migaki refuses them on purpose:
functions printed as text, ranges beyond 10,000, widths in "%5s".
"""
import datetime
import json

import jinja2
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(Extension):
    tags = {"generation"}

    def __init__(self, environment):
        super().__init__(environment)
        environment.extend(blocks=None, spans=None)

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_note"), [], [], body).set_lineno(line)

    def _note(self, caller):
        text = caller()
        begin = len("".join(self.environment.blocks))
        self.environment.spans.append((begin, begin + len(text)))
        return text


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


NOW = datetime.datetime(2024, 7, 26, tzinfo=datetime.timezone.utc)
env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                    extensions=[Generation, jinja2.ext.loopcontrols])
env.filters["tojson"] = tojson
env.globals.update(raise_exception=raise_exception, strftime_now=NOW.strftime)


def render(template, context):
    try:
        compiled = env.from_string(template)
        env.blocks, env.spans = [], []
        for block in compiled.generate(**context):
            env.blocks.append(block)
    except Exception as error:  # noqa: BLE001 any failure is the expected value
        return {"error": str(error) if type(error) is jinja2.exceptions.TemplateError else ""}
    text = "".join(env.blocks)
    return {"text": text, "spans": [[len(text[:n].encode()) for n in span] for span in env.spans]}


CONTEXT = {"messages":[{"role":"user","content":" Hi  there "},{"role":"assistant","content":"はい、\"引用\"と'quote'\n\t\\ \u200b😀"},{"role":"user","content":["x",{"type":"text","text":"t1"},None,True,1.5,-3]}],
"n":7,"f":2.5,"s":"Hello World","e":"","lst":[3,1,2,"b"],"nums":[5,3,9,3,-1],"d":{"b":1,"a":[1,2.0,{"k":None}],"items":"shadow","get":5},"none":None,"t":True,"bos_token":"<s>","tools":None,"strs":["b","A","c","a","B"],
"objs":[{"n":"x","v":2,"g":{"h":1}},{"n":"y","v":1,"g":{"h":0}},{"n":"z","v":2,"g":{"h":1}}],"uni":"ÀÉß日本語\u3000ǆ","nl":"a\nb\n\nc\n","big":123456789012,"fl":[0.1,1e22,1e-7,123456.789,1e16,100.0,-0.0,3.14159265358979]}

T = r'''
{{ 1 + 2 * 3 }} {{ (1+2)*3 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ -2 ** 2 }}
{{ fl }} {{ fl[0] }} {{ fl|tojson }} {{ 1e3 }} {{ 1.0 }} {{ 1_000 }}
{{ messages }}
{{ messages|tojson }}
{{ messages[1]|tojson(indent=2) }}
{{ messages|tojson(indent=4, sort_keys=true) }}
{{ d|tojson(separators=(',', ':')) }} {{ messages[1].content|tojson(ensure_ascii=true) }}
{{ d['get'] }}{{ d.b }}{{ d.zz }}|{{ d.zz is defined }}{{ d['zz'] is undefined }}
{{ d.zz.yy }}
{{ undefinedthing }}|{{ undefinedthing|length }}|{{ undefinedthing|default('q') }}|{{ undefinedthing is none }}
{{ undefinedthing + 'x' }}
{{ undefinedthing.x }}
{{ undefinedthing() }}
{{ none.x }}|{{ none['x'] }}|{{ s.x }}|{{ 5 .x }}
{{ s[0] }}{{ s[-1] }}{{ s[1:4] }}{{ s[::-1] }}{{ s[::2] }}{{ s[-3:] }}{{ s[:-3] }}{{ s[100] }}{{ uni[1:3] }}{{ uni[::-1] }}{{ uni[6] }}
{{ nums[1:] }}{{ nums[:-1] }}{{ nums[::-1] }}{{ nums[::2] }}{{ nums[10:] }}{{ nums[-2:] }}{{ nums[3:1:-1] }}
{{ s.upper() }}{{ s.lower() }}{{ s.title() }}{{ s.split() }}{{ s.split('o') }}{{ s.split('o', 1) }}{{ s.rsplit('o',1) }}{{ s.replace('o','0') }}{{ s.replace('o','0',1) }}{{ s.startswith('He') }}{{ s.endswith(('x','ld')) }}{{ s.find('W') }}{{ s.count('l') }}
{{ uni.upper() }}{{ uni.lower() }}{{ uni|capitalize }}{{ uni|title }}{{ 'foo-bar (baz) it\'s'|title }}{{ "it's a x1y".title() }}
{{ '  a b  '.strip() }}|{{ '  a b  '.lstrip() }}|{{ '  a b  '.rstrip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'abcba'.lstrip('ab') }}|{{ ' a  b '.split(' ') }}|{{ ' a  b  c '.split(none, 1) }}
{{ 'a,b,c'.partition(',') }}{{ 'a,b,c'.rpartition(',') }}{{ 'abc'.partition('x') }}{{ 'x'.join(['a','b']) }}{{ nl.splitlines() }}{{ nl.splitlines(true) }}{{ 'abc'.removeprefix('a') }}{{ 'abc'.removesuffix('bc') }}{{ '5'.zfill(3) }}{{ 'a'.ljust(3) }}|
{{ '{} {}'.format(1,'a') }}{{ '{0}{1}{0}'.format('x','y') }}{{ '{a}'.format(a=1) }}{{ '%s-%d'|format('x', 3) }}{{ '%s' % 'y' }}{{ '%s %s' % ('a', 1) }}{{ '%.2f' % 3.14159 }}
{{ 'a' in 'abc' }}{{ 'z' not in s }}{{ 3 in nums }}{{ 'b' in d }}{{ 'q' in undefinedthing }}
{{ 1 in 'abc' }}
{{ 1 < 2 < 3 }}{{ 1 < 2 > 5 }}{{ 1 == 1.0 }}{{ true == 1 }}{{ 'a' < 'b' }}{{ [1,2] < [1,3] }}{{ none == none }}{{ undefinedthing == undefinedthing2 }}{{ [1] == (1,) }}
{{ 1 < 'a' }}
{{ none < 1 }}
{{ not true }}{{ not none and 1 }}{{ 0 or 'x' }}{{ '' or none }}{{ 1 and 2 }}{{ not not 3 }}
{{ 'a' ~ 1 ~ none ~ true ~ 1.5 ~ [1,'x'] }}
{{ 'a' + 1 }}
{{ 'a' * 3 }}{{ 3 * 'b' }}{{ [1] * 2 }}{{ 'x' * -1 }}
{{ 1 if t else 2 }}{{ 1 if none else 2 }}{{ 'x' if false }}|{{ (1 if false) is undefined }}
{{ [1,2,3]|length }}{{ s|length }}{{ uni|length }}{{ d|length }}{{ ()|length }}
{{ 5|length }}
{{ lst|join(',') }}{{ lst|join }}{{ objs|join('-', attribute='n') }}{{ nums|sort }}{{ nums|sort(reverse=true) }}{{ strs|sort }}{{ strs|sort(case_sensitive=true) }}{{ objs|sort(attribute='v')|map(attribute='n')|list }}
{{ nums|max }}{{ nums|min }}{{ nums|sum }}{{ objs|sum(attribute='v') }}{{ strs|unique|list }}{{ nums|unique|list }}{{ nums|first }}{{ nums|last }}{{ []|first }}|{{ nums|reverse|list }}{{ s|reverse }}
{{ objs|map(attribute='g.h')|list }}{{ objs|selectattr('v','equalto',2)|map(attribute='n')|list }}{{ objs|rejectattr('v','gt',1)|list }}{{ objs|selectattr('g.h')|list|length }}{{ nums|select('odd')|list }}{{ nums|reject('gt',3)|list }}{{ strs|map('upper')|list }}{{ strs|map('replace','a','z')|list }}{{ ['1','2']|map('int')|list }}{{ [0,1,'']|select|list }}
{{ objs|map(attribute='zz', default='D')|list }}{{ none|map('upper')|list }}
{{ objs|map(attribute='v')|length }}
{{ objs|map(attribute='v')|tojson }}
{{ d|dictsort }}{{ d|items|list }}{{ d.keys()|list }}{{ d.values()|list }}{{ d|list }}
{{ '42'|int + 1 }}{{ 'x'|int }}{{ 'x'|int(9) }}{{ '3.7'|int }}{{ 3.9|int }}{{ '1.5'|float }}{{ 'q'|float }}{{ '0x1f'|int(0,16) }}{{ -5|abs }}{{ 2.5|round }}{{ 2.567|round(2) }}{{ 2.1|round(method='ceil') }}{{ 2.9|round(0,'floor') }}{{ 3|round }}
{{ nl|indent }}|{{ nl|indent(2, true) }}|{{ nl|indent('>>', blank=true) }}|{{ 'x'|indent(width=3, first=True) }}
{{ '<a href="x">\'&'|e }}{{ '<b>'|safe + '<c>' }}{{ '<b>'|escape|escape }}{{ ('<b>'|safe) ~ '<c>' }}
{{ 'abc'|center(9) }}|{{ 'abcd'|center(9) }}|{{ 'foo bar  baz'|wordcount }}{{ 'a b/c?日'|urlencode }}
{{ [1,2,3,4,5]|batch(2)|list }}{{ [1,2,3]|batch(2,'x')|list }}
{{ 3 is odd }}{{ 4 is even }}{{ 9 is divisibleby 3 }}{{ 9 is divisibleby(2) }}{{ 'a' is string }}{{ 1 is number }}{{ 1.0 is float }}{{ 1 is integer }}{{ true is integer }}{{ true is boolean }}{{ true is true }}{{ 1 is true }}{{ none is none }}{{ d is mapping }}{{ nums is sequence }}{{ d is sequence }}{{ s is iterable }}{{ 5 is iterable }}{{ 'abc' is lower }}{{ 'ABC' is upper }}{{ 1 is in [1] }}{{ 'x' is eq 'x' }}{{ range is callable }}{{ 1 is sameas 1 }}{{ 'upper' is filter }}{{ 'odd' is test }}{{ 1 is not odd }}{{ 2 is gt 1 }}{{ 2 is ne 2}}
{% for i in nums %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle('a','b') }}{{ loop.changed(i) }}{{ loop.depth }};{% endfor %}
{% for i in [] %}x{% else %}empty{% endfor %}{% for k, v in d.items() %}{{ k }}={{ v }},{% endfor %}{% for k in d %}{{ k }}{% endfor %}{% for c in 'añ日' %}[{{ c }}]{% endfor %}{% for (a, b) in [(1,2),(3,4)] %}{{ a }}{{ b }}{% endfor %}
{% for i in nums if i > 2 %}{{ loop.index }}:{{ i }}/{{ loop.length }} {% endfor %}{% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}{% for i in range(5,0,-2) %}{{ i }}{% endfor %}
{% for a, b in [1,2] %}{% endfor %}
{% for i in none %}{% endfor %}
{% for i in 5 %}{% endfor %}
{% set x = 1 %}{% for i in [1,2] %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}{% if true %}{% set x = 9 %}{% endif %}{{ x }}
{% set ns = namespace(a=1, b='q') %}{% for i in [1,2] %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}{{ ns.b }}{{ ns.zz is defined }}{% set ns.c = [1] %}{{ ns.c }}{{ ns['a'] }}
{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set (c, dd) = [3, 4] %}{{ c }}{{ dd }}{% set z = 1, %}{{ z }}
{% set txt %}hello {{ s }}{% endset %}[{{ txt }}]{% set up | upper | trim %} abc {% endset %}[{{ up }}]
{% macro m(a, b=2, c='z') %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }}{{ m(1, c=5) }}{{ m(b=1, a=0) }}{{ m() }}|{{ m('x')|upper }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1,2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(q=2) }}
{% macro r(n) %}{{ n }}{% if n > 0 %},{{ r(n-1) }}{% endif %}{% endmacro %}{{ r(5) }}
{% macro r(n) %}{{ r(n+1) }}{% endmacro %}{{ r(0) }}
{% set q = 5 %}{% macro g() %}{{ q }}{{ late }}{% set q = 7 %}{{ q }}{% endmacro %}{% set late = 3 %}{{ g() }}{{ q }}
{% filter upper %}abc {{ s }}{% endfilter %}{% filter trim|lower %}  ABC {% endfilter %}
{% with a=1, b=2 %}{{ a }}{{ b }}{% set a = 5 %}{{ a }}{% endwith %}{{ a is defined }}
a{#- comment -#}  b {# c #} d
  {# lstripped comment #}
x{%- if true -%}   y   {%- endif -%}   z
   {%+ if true %}keep{% endif +%}

end
{% raw %}{{ not }} {% if %}{% endraw %} {%- raw -%}  {{ q }}  {%- endraw -%}  x
{{ "a\tb\n\x41\u3042\U0001F600\q\'" }}{{ 'single "dq"' }}{{ "con" "cat" }}
{{ [1,2,] }}{{ {'a':1,} }}{{ (1,) }}{{ () }}{{ {} }}{{ [] }}{{ {1:'a', 'b':[{}], (1,2):3} }}
{{ range(5)|list }}{{ range(2,8,3)|list }}{{ range(3)|length }}{{ range(10)[2] }}{{ dict(a=1,b=2) }}{{ dict([('x',1)]) }}
{{ lst|tojson|length }}{{ lst|string }}{{ 5|string + 'x' }}{{ none|string }}{{ true|string|lower }}
{{ messages[0].content|trim }}|{{ messages[0]['content'].split() }}|{{ messages[-1]['content'][1].text }}|{{ messages[5].role is defined }}
{{ messages[5].role }}{{ messages[5].role.x }}
{{ raise_exception('boom: ' ~ s) }}
{{ strftime_now('%d %b %Y') }} {{ strftime_now("%Y-%m-%d") }} {{ strftime_now("%B %A") }}
{% generation %}abc{% set zz = 1 %}{{ s }}{% endgeneration %}{{ zz is defined }} x {% generation %}日本{% endgeneration %}{% generation %}{% endgeneration %}
{% for m in messages %}{% generation %}{{ m.role }}{% endgeneration %}{% endfor %}
{% unknown %}
{{ 1 | nofilter }}
{% if false %}{{ 1 | nofilter }}{% endif %}ok
{{ 1 is notest }}
{{ x y }}
{{ }}
{{ 'unclosed }}
{% if x %}
{% endfor %}
{{ (1 }}
{# unclosed
{{ lst.append(5) }}{{ lst }}
{{ d.update({'x':1}) }}
{{ ''.__class__ }}|{{ s.__class__.__mro__ }}
{{ true|tojson }}{{ none|tojson }}{{ {1:2,none:3,true:4,1.5:5}|tojson }}{{ (1,2)|tojson }}{{ "\u0000\u001f\u007f</script>"|tojson }}
{{ [1,[2,[3]]] }}{{ [none,true,'x"y','x\'y','x\'y"z','\n\t\\','\u200b','\x7f','é'] }}
{{ 10 // 0 }}
{{ 1 / 0 }}
{{ big * 1000 }}{{ 5.0 // 2 }}{{ 5.5 % 2 }}{{ -5.5 % 2 }}{{ 2 ** 0.5 }}{{ 2.0 * 3 }}{{ 1 + 1.5 }}{{ true + 1 }}{{ -t }}
{{ 'a' if 1 else 'b' if 0 else 'c' }}{{ (1,2,3)[1] }}{{ ((1)) }}{{ nums[n - 5] }}{{ -nums[0] }}{{ nums[0] - -1 }}
{{ s|upper|lower|replace('l','L')|length }}{{ -1|abs }}{{ (1,2)|first }}{{ 'a'|upper ~ 'b'|upper }}{{ 1 + 2|string|length }}
{{ messages|map(attribute='role')|join(', ') }}{{ messages|selectattr('role','eq','user')|list|length }}{{ (messages|selectattr('role','==','user')|list)[0].content }}{{ messages|selectattr('content','string')|list|length }}{{ messages|selectattr('zz','defined')|list }}
{{ loop is defined }}{% for i in [1] %}{{ loop is defined }}{% endfor %}{{ caller is defined }}
{{ s is defined and s|length > 3 }}{{ zz is defined and zz.y }}{{ (zz|default({})).y is defined }}{{ zz|default(none) is none }}{{ ''|default('x', true) }}{{ none|d('x') }}
{{ nums.index(9) }}{{ nums.count(3) }}{{ s.index('W') }}{{ 'aXbX'.rfind('X') }}{{ s.isalpha() }}{{ 'ab1'.isalnum() }}{{ '12'.isdigit() }}{{ ' '.isspace() }}
{{ s.index('q') }}
{{ 'a' 'b' ~ 'c' }}{{ not 1 == 2 }}{{ 1 not in [1] }}{{ (not 1) in [false] }}{{ 1 + 1 ~ 'x' }}{{ 'x' ~ 1 + 1 }}
{%- set content = messages[0].content -%}{{ content.split('x')[-1].lstrip('\n') }}{{ '' in content }}{{ content is string and content }}{{ content[:3] == ' Hi' }}
{% set x = ['a'] %}{% set x = x + ['b'] %}{{ x }}{{ x + [none] }}{{ (1,) + (2,) }}
{{ [1] + (2,) }}
{%if t%}no space{%endif%}{{s}}{%-set y=1-%}{{y}}
{{ d.a[1] }}{{ d['a'][2]['k'] }}{{ d.a.2.k }}{{ objs.0.n }}
{{ '' | trim }}{{ '\u3000 x\u00a0' | trim }}{{ 'xyx' | trim('x') }}
{{ none | trim }}{{ 5 | trim }}{{ none ~ '' }}{{ none|upper }}
{{ messages[0].content.strip().split(' ')|reject('equalto','')|list }}{{ 'a' == 'a' == 'a' }}
{{ {'a': 1}['a'] }}{{ {'a': {'b': 2}}.a.b }}{{ [[1,2],[3]][0][1] }}{{ 'abc'['x'] }}
{{ namespace() is mapping }}{{ namespace(a=1).a }}{{ range(3) is sequence }}{{ d.items() is sequence }}
{{ ns.x }}{% set ns = namespace() %}{% set ns.x = 1 %}
{% set s.x = 1 %}
{% for i in [1,2,3] %}{{ loop.index }}{{ "," if not loop.last }}{% endfor %}
{% for i in [1,2] %}{% for j in [1,2] %}{{ loop.index }}{{ i }}{{ j }}{% if j == 1 %}{% continue %}{% endif %}!{% endfor %}{{ loop.index }}{% endfor %}
{{ 'x' ~ ('a' if none is none) }}{{ 3 if 2 is odd else 4 }}{{ [x for x in y] }}
{{ f }}{{ n }}{{ f|string }}{{ f ~ n }}{{ [f, n] }}
{% break %}
{% for i in [1] %}{% generation %}{% break %}{% endgeneration %}{% endfor %}
{{ s.split('l')|length }}{{ s.split('') }}
{{ ["a", "b"] | join("\n") }}{{ d.keys() | join(',') }}{{ d.values() | list | length }}
{{ nums == nums }}{{ objs[0] == objs[2] }}{{ objs[0] != objs[1] }}{{ messages[0] == messages[-1] }}{{ {} == {} }}{{ 1 is sameas true }}
{{ lst | sort }}
{{ 'a'.center(5) }}
{{ {'a':1} | length }}{{ {'a':1}.items() | list }}{{ ({'b':1,'a':2}) | dictsort(by='value', reverse=true) }}
{{ '日本語テキスト'[2:4] }}{{ '日本語'|list }}{{ '日本語'.find('語') }}{{ '日本語' | first }}{{ '日本語'|last }}
'''
MULTI = ["a\n  {% if t %}\n  b\n  {% endif %}\n c\n","{% for i in nums %}\n  {{ i }}\n{% endfor %}\n\n","x\r\n{% if t %}\r\ny\r\n{% endif %}\r\n"," {% if t %} \n{% endif %}","\t{#- x -#}\n z","{{ s }}\n","{{ s }}\n\n","{% set x = 1 %}\n\n{% set y = 2 %}\n{{ x }}","  {{ s }}  {% if t %}  q{% endif %}","{% if t -%}\n\n  a\n {%- endif %}","\n{% raw %}\n a {% endraw %}\n b","{{ '{{' }}{{ '%}' }}{{ {'a':{'b':1}}}}","{%- for m in messages %}\n    {%- if m.role == 'user' %}\n        {{- 'U:' }}\n    {%- else %}\n        {{- 'A:' }}\n    {%- endif %}\n{%- endfor %}\n","   {%- if t %}\n x {% endif -%}\n y","{{\n  s\n  |upper\n}}","{{ '''x''' }}","<|a|>{{bos_token}}\n{# c #}\n{# d #} e","{% if t %}{# x #}\n{% endif %}","{{ s -}}   \n  q","q \n {{- s }}", "{% if t %}\n\n\nx{% endif %}\n\n\n", "{% macro a() -%}\n  x\n{%- endmacro %}\n{{ a() }}", "é{%if t%}ü{%endif%}\u3000{%- if t %}x{% endif -%}\u3000y", "{% set x %}\n a\n{% endset %}\n[{{ x }}]", "  {%+ if t %}x{% endif %}", "{% if t +%}\nx{% endif %}","{# a #}\n\n  {# b #}\n c","{{ 1 }}\n{% if t %}\n{{ 2 }}\n{% endif %}\n{{ 3 }}"]

cases = [{"template": t, **render(t, CONTEXT)} for t in T.strip("\n").split("\n") + MULTI]
with open("template_cases.json", "w", encoding="utf-8") as f:
    json.dump({"context": CONTEXT, "cases": cases}, f, ensure_ascii=False, indent=0)
