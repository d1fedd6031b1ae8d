"""Drawings that have to look the same before and after an import."""

_OPEN = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40"'
_SHAPES = (
    '<rect class="a" width="20" height="20"/><rect class="b" x="20" width="20" height="20"/>'
    '<g class="a"><rect class="b" y="20" width="20" height="20"/></g><circle class="c" cx="30" cy="30" r="8"/>'
)
_GIF = "url(data:image/gif;base64,R0lGODlhAQABAIAAAAUEBAAAACwAAAAAAQABAAACAkQBADs=)"

_SHEETS = {
    "nesting": ".a{fill:#f00;.b{fill:#00f} fill:#0f0}",
    "parent selector": ".a{fill:#f00;&.b{fill:#00f} .b &{fill:#0ff} & > .b{fill:lime}}",
    "nested media": ".a{@media (min-width:1px){fill:blue;.b{fill:lime}} stroke:#0f0}",
    "layer": "@layer base{.a{fill:red}} .b{fill:blue}",
    "layers": "@layer top,base;@layer base{.a{fill:red}} @layer top{.a{fill:lime}}",
    "supports": "@supports (display:grid) and (not (foo:1)){.a{fill:red}}",
    "supports selector": "@supports selector(a > b){.a{fill:red}}",
    "supports image-set": '@supports (background:image-set("a.png" 1x)){.a{fill:red}}',
    "scope": "@scope (g) to (.z){rect{fill:red}}",
    "starting style": "@starting-style{.a{opacity:0}} .a{fill:red}",
    "property": (
        '@property --x{syntax:"<color>";inherits:false;initial-value:red} .a{fill:var(--x)} '
        ".b{--x:blue;fill:var(--x)}"
    ),
    "namespace": (
        "@namespace s url(http://www.w3.org/2000/svg); s|rect{fill:red} *|circle{fill:blue}"
    ),
    "default namespace": (
        "@namespace url(http://www.w3.org/1999/xhtml); rect{fill:red} *|circle{fill:blue}"
    ),
    "late namespace": (
        ".x{} @namespace s url(http://www.w3.org/2000/svg); s|rect{fill:red} circle{fill:blue}"
    ),
    "late namespace after unknown": (
        "@zzz{} @namespace s url(http://www.w3.org/2000/svg); s|rect{fill:red} circle{fill:blue}"
    ),
    "late namespace after layer block": (
        "@layer a{} @namespace s url(http://www.w3.org/2000/svg); s|rect{fill:red} "
        "circle{fill:blue}"
    ),
    "namespace after bad rule": (
        "a b {: } } @namespace s url(http://www.w3.org/2000/svg); s|rect{fill:red} "
        "circle{fill:blue}"
    ),
    "namespace after font-face": (
        "@font-face{font-family:x;src:url(http://127.0.0.1:9/x)} @namespace s "
        "url(http://www.w3.org/2000/svg); s|rect{fill:red} circle{fill:blue}"
    ),
    "namespace bad prefix": "@namespace s 'urn:x'; s|rect{fill:red} circle{fill:blue}",
    "mask gradient": (
        ".a{mask-image:linear-gradient(#000,transparent)} .c{mask:radial-gradient(#000,#0000 70%)}"
    ),
    "clip shape": (
        ".a{clip-path:shape(from 0 0,line to 100% 0,line to 0 100%,close)}.c{clip-path:inset(2px)}"
    ),
    "color": (
        ".a{fill:color-mix(in oklch,red,blue)}.b{fill:light-dark(lime,red)}.c{fill:contrast-c"
        "olor(red)}"
    ),
    "condition in a value": ".a{--z:1;fill:if(style(--z:1): blue; else: red)}",
    "function": "@function --f(--x){result:var(--x)} .a{fill:--f(lime)}",
    "attr": ".c{r:attr(r type(<length>),2px)} .a{width:attr(width type(<number>))}",
    "sibling": "rect{x:calc(sibling-index()*9px)}",
    "declaration without a colon": ".a{fill red;fill:blue}.b{foo;fill:lime;bar{}fill:red}",
    "bad string": '.a{font-family:"x\n;fill:blue;} .b{fill:lime}',
    "bad url": ".a{fill:url(a b);fill:blue} .b{fill:lime}",
    "stray brace": ".a{fill:blue} } .b{fill:red} .c{fill:lime}",
    "stray bracket": ".a{fill:red) ; fill:blue} .b{fill:lime}",
    "open bracket": ".b{fill:lime}.a{fill:calc(1; fill:blue} .c{fill:red}",
    "custom": ".a{--x: {a:b} c; --y: d {e}; fill:lime}.b{--fill:blue;fill:var(--fill)}",
    "comment marks": "<!-- .a{fill:red} --> .b{fill:blue}",
    "range": "@media (1px<width<=99999px){.a{fill:red}} @media (width<1px){.b{fill:red}}",
    "range with functions": "@media (width>=calc(1px)) and (calc(1px)<width){.a{fill:red}}",
    "end inside a rule": ".a{fill:red;.b{fill:blue",
    "unknown at": "@zzz x{.a{fill:red}} .a{fill:blue} @yyy; .b{fill:lime}",
    "nested unknown": ".a{@zzz x; fill:blue; @yyy{fill:red} .b{fill:lime}}",
    "error before a nested rule": ".a{zz yy;.b{fill:lime} fill:blue}",
    "escapes": ".\\61{f\\69ll:r\\65 d} .\\62 {fill:blue}",
    "import": "@import 'http://127.0.0.1:9/x.css'; .a{fill:red}",
    "font-face": "@font-face{font-family:x;src:url(http://127.0.0.1:9/x.woff)} .a{fill:red}",
    "media nested decl": "@media all{fill:red;.a{fill:blue}}",
    "important": ".a{fill:red!important}.a{fill:blue}.b{fill:lime ! important}",
    "keyframes": "@keyframes k{from,to{fill:lime}} .a{animation:k 1000s infinite}",
    "container": (
        "g{container-type:normal;container-name:q} @container q style(--x:1){.b{fill:red}} g{--x:1}"
    ),
    "type nested": "g{rect{fill:lime} rect:hover{fill:red}}",
    "mask data": ".a{fill:blue;mask-image:" + _GIF + "}",
}
"""Style sheets for `_SHAPES`."""

_STYLES = [
    "background:#0f0",
    "border:3px solid blue",
    "outline:2px dashed red;outline-offset:-4px",
    "padding:5px;background:linear-gradient(red,blue)",
    "border-radius:50%;background:lime",
    "margin:4px;background:red",
    "background:" + _GIF,
    "box-shadow:inset 0 0 9px red",
    "background:repeating-conic-gradient(red 0 9deg,blue 0 18deg)",
    "-webkit-mask:linear-gradient(#000,#0000)",
    "zoom:1.2",
    "all:initial;fill:lime",
    "border-image:linear-gradient(red,blue) 4;border-width:4px;border-style:solid",
    "background-image:image-set(linear-gradient(red,lime) 1x)",
    "color:lime;background:currentColor",
    "fill red;background:lime",
    ".b{fill:red} background:lime",
    "@media print{fill:red} background:lime",
    ".b{fill:red} r:1px;background:lime",
    "--x: a {b} c;--y:{z};background:lime",
    "background:lime}; fill:red",
    "background:lime) ; fill:red;stroke:red",
]
"""`style` attributes of the root element."""

_BODIES = {
    "no namespace": '<g xmlns=""><rect width="9" height="9"/></g><circle r="5"/>',
    "foreign namespace": (
        '<g xmlns="urn:x"><rect xmlns="http://www.w3.org/2000/svg" width="9" height="9"/></g>'
        '<circle r="5"/>'
    ),
    "SVG in no namespace": (
        '<g xmlns=""><g xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></g>'
        '</g><circle r="5"/>'
    ),
    "tspan without a namespace": (
        '<text y="20">ab<tspan xmlns="">XX</tspan>c<tspan>d</tspan></text>'
    ),
    "prefix": (
        '<s:g xmlns:s="http://www.w3.org/2000/svg" fill="red"><s:rect width="9" height="9"/></s:g>'
    ),
    "attribute with a namespace": (
        '<rect xmlns:s="http://www.w3.org/2000/svg" width="9" height="9" s:fill="red"/>'
    ),
    "style without a namespace": (
        '<style xmlns="">rect{fill:red}</style><rect width="9" height="9"/>'
    ),
    "style of HTML": (
        '<style xmlns="http://www.w3.org/1999/xhtml">rect{fill:red}</style><rect width="9" '
        'height="9"/>'
    ),
    "switch": '<switch><g xmlns="urn:x"/><rect width="9" height="9"/></switch>',
    "use of a group without a namespace": (
        '<defs><g xmlns="" id="q"><rect width="9" height="9"/></g></defs><use href="#q"/>'
        '<circle r="5"/>'
    ),
    "mask of a shape without a namespace": (
        '<mask id="m"><rect xmlns="" width="9" height="9" fill="#fff"/></mask><rect '
        'width="9" height="9" mask="url(#m)"/>'
    ),
    "stop without a namespace": (
        '<linearGradient id="g"><stop stop-color="red"/><stop xmlns="" offset="1" '
        'stop-color="blue"/></linearGradient><rect width="20" height="20" fill="url(#g)"/>'
    ),
    "begin with parentheses": (
        '<rect width="9" height="9"><animate id="q" attributeName="x" begin="q.repeat(3)" '
        'from="20" to="20" dur="99s"/></rect>'
    ),
    "results with parentheses": (
        '<filter id="f"><feFlood flood-color="red" result="step(1)"/><feFlood '
        'flood-color="blue" result="url(x)"/><feOffset in="step(1)"/></filter><rect '
        'width="20" height="20" filter="url(#f)"/>'
    ),
    "id with parentheses": '<rect id="a(1)" width="9" height="9"/><use href="#a(1)" x="20"/>',
    "animated class": (
        '<style>.sm\\:x{fill:red}</style><rect width="9" height="9"><set '
        'attributeName="class" to="sm:x"/></rect>'
    ),
    "media query": (
        '<style media="(min-width:1px)">rect{fill:red}</style><rect width="9" height="9"/>'
    ),
    "animated fill": (
        '<linearGradient id="g"><stop stop-color="red"/></linearGradient><rect width="9" '
        'height="9"><set attributeName="fill" to="url(#g)"/></rect>'
    ),
}
"""Contents of the root element."""


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")


DRAWINGS = {
    **{
        name: f"{_OPEN}><style>{_escaped(sheet)}</style>{_SHAPES}</svg>"
        for name, sheet in _SHEETS.items()
    },
    **{style: f'{_OPEN} style="{_escaped(style)}">{_SHAPES}</svg>' for style in _STYLES},
    **{name: f"{_OPEN}>{body}</svg>" for name, body in _BODIES.items()},
}

BETTER_IN_RESVG = {
    "declaration without a colon",
    "bad string",
    "stray bracket",
    "comment marks",
    "nested unknown",
    "escapes",
    "background:lime}; fill:red",
    "attribute with a namespace",
    "style without a namespace",
}
"""Drawings that resvg reads wrongly before the import, and like a browser after the import."""
