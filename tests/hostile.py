"""Hostile texts for everything that shows what models or people wrote: CORPUS; none may run, load or hide anything."""

from __future__ import annotations

# ruff: noqa: E501  one payload is one word

AWAY = "https://evil.example"

_ELEMENTS = [
    "<script>alert(1)</script>", f"<script src={AWAY}/x.js></script>", "<ScRiPt>alert(1)</sCrIpT>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>", "<script\x00>alert(1)</script>", "<script/x>alert(1)</script>",
    "<<script>alert(1)//<</script>", "<img src=x onerror=alert(1)>", f"<img src={AWAY}/p.png>",
    "<img src=x:x onerror\n=alert(1)>", "<img/src=x/onerror=alert(1)>", f"<img srcset='{AWAY}/a 1x'>",
    "<svg onload=alert(1)>", "<svg><script>alert(1)</script></svg>", "<svg><animate onbegin=alert(1) attributeName=x>",
    f"<svg><image href={AWAY}/x.svg />", f"<svg><use href='{AWAY}/x.svg#a'/></svg>",
    "<svg><a xlink:href='javascript:alert(1)'><text>x</text></a></svg>", "<svg><style>*{background:red}</style></svg>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>", "<math href='javascript:alert(1)'>x</math>",
    "<iframe src='javascript:alert(1)'></iframe>", f"<iframe src={AWAY}></iframe>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>", f"<object data={AWAY}/x.swf></object>",
    f"<embed src={AWAY}/x>", f"<link rel=stylesheet href={AWAY}/x.css>", f"<link rel=prefetch href={AWAY}>",
    f"<meta http-equiv=refresh content='0;url={AWAY}'>", f"<base href={AWAY}/>", f"<form action={AWAY}><input name=q autofocus>",
    "<button formaction=javascript:alert(1)>x</button>", "<input onfocus=alert(1) autofocus>",
    "<details open ontoggle=alert(1)>x</details>", "<body onload=alert(1)>", "<video><source onerror=alert(1)></video>",
    f"<video src={AWAY}/v poster={AWAY}/p></video>", f"<audio src={AWAY}/a autoplay></audio>",
    "<marquee onstart=alert(1)>x</marquee>", "<style>@import 'https://evil.example/x.css';</style>",
    f"<div style='background:url({AWAY}/x)'>x</div>", "<p style='position:fixed;inset:0;z-index:9'>x</p>",
    "<a href='javascript:alert(1)'>x</a>", "<a href=x onclick=alert(1)>x</a>", f"<a ping={AWAY} href=/>x</a>",
    "<template><script>alert(1)</script></template>", "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<xmp><script>alert(1)</script></xmp>", "<plaintext>", "<textarea><script>alert(1)</script>", "<title><img src=x onerror=alert(1)>",
    "<!--><img src=x onerror=alert(1)>-->", "<!-- --!><script>alert(1)</script>", "<?xml version='1.0'?><x onclick=alert(1)>",
    "<![CDATA[<script>alert(1)</script>]]>", "</p></article></main><script>alert(1)</script>",
    "</script><script>alert(1)</script>", "<dialog open>x</dialog>", "<slot onslotchange=alert(1)></slot>",
    "<table background='https://evil.example/x'><tr><td>", "<portal src=https://evil.example>", "<frameset onload=alert(1)>",
]  # fmt: skip

_ADDRESSES = [
    "javascript:alert(1)", "JaVaScRiPt:alert(1)", " javascript:alert(1)", "java\tscript:alert(1)", "java\nscript:alert(1)",
    "\x01javascript:alert(1)", "javascript&colon;alert(1)", "javascript&#58;alert(1)", "&#106;avascript:alert(1)",
    "&#x6A&#x61vascript:alert(1)", "javascript%3Aalert(1)", "data:text/html,<script>alert(1)</script>",
    "data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==", "data:image/svg+xml,<svg onload=alert(1)>",
    "vbscript:msgbox(1)", "file:///etc/passwd", "blob:https://evil.example/1", "filesystem:https://evil.example/x",
    "ftp://evil.example/x", "view-source:javascript:alert(1)", "feed:javascript:alert(1)", "jar:https://evil.example!/x",
    "//evil.example/x", "\\\\evil.example\\x", "https:evil.example", f"{AWAY}/?q=`cookie`", "/logout", "../admin",
    "https://good.example@evil.example/", "https://xn--80ak6aa92e.com/", "intent://x#Intent;scheme=javascript;end",
]  # fmt: skip

_HIDDEN = [
    "pay \u202egnp.exe", "\u2066isolate\u2069", "a\u200bb", "a\u200cb", "a\u200db", "a\u2060b", "a\ufeffb", "a\u00adb",
    "\u061c", "\u180e", "\u115f\u3164\uffa0", "a\u2028b\u2029c", "\U000e0041\U000e0042 tag", "\x1b[31mred", "a\x00b", "\x7f\x9b31m",
    "\ufff9a\ufffab\ufffb", "\ue0001F600\ue000", "\ue000", "a\ufe00b", "Z\u0351\u036b\u0343\u032a" * 40, "\u2061\u2062\u2063",
    "[x](http://e\u200bvil.example)", "![\u202ex](http://a.b '\u200b>')", "`code\u202e`", "```\nfence\u200b\n```",
    "[a](http://b.c '\"><img src=x onerror=alert(1)>\u200b')", "<img \u200b src=x onerror=alert(1)>", "| \u202e |\n|-|\n| x |",
]  # fmt: skip

_MARKDOWN = [
    f"![x]({AWAY}/x.png)", f"![x]({AWAY}/x.png 'title')", f"[![x]({AWAY}/x.png)]({AWAY})", f"![x][1]\n\n[1]: {AWAY}/x.png",
    f"<{AWAY}/auto>", "<javascript:alert(1)>", "[x]: javascript:alert(1)\n\n[x]", "[x](<javascript:alert(1)>)",
    "[x](http://a.b '\" onmouseover=alert(1) x=\"')", "![\" onerror=alert(1) x=\"](x)", "[<img src=x onerror=alert(1)>](http://a.b)",
    "```html onload=alert(1)\n<script>alert(1)</script>\n```", "```\"><script>alert(1)</script>\nx\n```", "    <script>alert(1)</script>",
    "`<script>alert(1)</script>`", "| <script>alert(1)</script> |\n|---|\n| <img src=x onerror=alert(1)> |",
    "# <svg onload=alert(1)>", "> <iframe src=javascript:alert(1)>", "1. <script>alert(1)</script>", "***" * 3000, "[" * 3000, "![" * 3000,
    ">" * 3000, "- " * 3000, "`" * 5001, "<" * 5000, "*a " * 5000, "|" * 10_000, "|a" * 300 + "\n" + "|-" * 300 + "\n" + "|b" * 300,
    "\n".join(["|a|b|", "|-|-|", *["|1|2|"] * 3000]), "x" * 300_000, "# " * 4000, "[a](" * 3000, "&" * 5000, "&#x110000; &#0; &#xD800;",
    "\\<script>alert(1)\\</script>", "&lt;script&gt;alert(1)&lt;/script&gt;", "{{ 7*7 }} {% raw %}", "${alert(1)} #{alert(1)}",
    "<span class='unseen' title='U+0041'>forged</span>", "\r\nSet-Cookie: a=b\r\n", "=cmd|' /C calc'!A0", "😀" * 500,
]  # fmt: skip

CORPUS: list[str] = [
    *_ELEMENTS,
    *(f"**bold** {element} and `code`" for element in _ELEMENTS[::3]),
    *(f"[link]({address})" for address in _ADDRESSES),
    *(f"![image]({address})" for address in _ADDRESSES[::2]),
    *(f'<a href="{address}">raw</a>' for address in _ADDRESSES[::2]),
    *_HIDDEN,
    *_MARKDOWN,
]
"""Each is shown as the prompt and as an answer."""
