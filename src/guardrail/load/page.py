"""The style of the report: one sheet, light and dark, nothing from elsewhere."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root{color-scheme:light dark;--page:#f6f8fa;--card:#fff;--ink:#1f2328;--soft:#59636e;--edge:#d1d9e0;--grid:#e6eaef;
--p50:#86b6ef;--p90:#3987e5;--p99:#184f95;--p999:#0d366b;--bad:#c4302b;--good:#1a7f37;--warn:#9a6700;--knee:#8250df;
--s0:#9aa4af;--s1:#2a78d6;--s2:#eb6834;--s3:#1baf7a;--s4:#eda100;--s5:#e87ba4;--s6:#4a3aa7;--s7:#008300;--s8:#d0d7de}
@media(prefers-color-scheme:dark){:root{--page:#0d1117;--card:#161b22;--ink:#e6edf3;--soft:#9aa4af;--edge:#30363d;--grid:#262c34;
--p50:#4473a8;--p90:#5598e7;--p99:#9ec5f4;--p999:#cde2fb;--bad:#ff7b72;--good:#3fb950;--warn:#d29922;--knee:#b392f0;
--s0:#6e7781;--s1:#3987e5;--s2:#d95926;--s3:#199e70;--s4:#c98500;--s5:#d55181;--s6:#9085e9;--s7:#3f9a3f;--s8:#444c56}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1060px;margin:0 auto;padding:28px 20px 48px}
h1{font-size:23px;line-height:1.25;margin:0 0 2px;overflow-wrap:anywhere}
h2{font-size:16px;margin:0 0 2px}
h3{font-size:14px;margin:22px 0 2px}
p{margin:0 0 6px}
.soft{color:var(--soft)}
.small{font-size:13px}
.head{display:flex;flex-wrap:wrap;align-items:flex-start;gap:8px 16px;justify-content:space-between;margin-bottom:16px}
.badge{border-radius:999px;padding:3px 13px;font-weight:600;white-space:nowrap;border:1.5px solid;font-size:14px}
.badge.bad{color:var(--bad)}.badge.good{color:var(--good)}.badge.warn{color:var(--warn)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(165px,1fr));gap:12px;margin-bottom:12px}
.card,section{background:var(--card);border:1px solid var(--edge);border-radius:10px;padding:14px 18px}
section{margin-bottom:12px;padding:16px 20px}
.card b{display:block;font-size:22px;line-height:1.3;font-weight:650;overflow-wrap:anywhere}
.card span{color:var(--soft);font-size:13px}
ul{margin:6px 0 0;padding-left:20px}li{margin-bottom:3px}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(420px,1fr));gap:8px 28px}
@media(max-width:520px){.pair{grid-template-columns:1fr}}
figure{margin:12px 0 0}figcaption{font-size:14px;font-weight:600;margin-bottom:4px}
svg{display:block;width:100%;height:auto;font-family:inherit}
.words,.label{font-size:11.5px}.words{fill:var(--soft)}.label{font-weight:600}
.grid{stroke:var(--grid)}.axis,.tick{stroke:var(--edge)}
.mark{stroke-dasharray:5 4;stroke-width:1.5}
.line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.dot{stroke:var(--card);stroke-width:1.5}
.line.p99,.line.came{stroke-width:2.75}
.line.p50,.line.q1{stroke:var(--p50)}.line.p90,.line.q2{stroke:var(--p90)}.line.p99,.line.q3{stroke:var(--p99)}.line.p999,.line.q4{stroke:var(--p999)}
.dot.p50,.label.p50,.dot.q1,.label.q1{fill:var(--p50)}.dot.p90,.label.p90,.dot.q2,.label.q2{fill:var(--p90)}
.dot.p99,.label.p99,.dot.q3,.label.q3{fill:var(--p99)}.dot.p999,.label.p999,.dot.q4,.label.q4{fill:var(--p999)}
.line.offered{stroke:var(--soft);stroke-dasharray:2 4}.dot.offered{fill:none;stroke:none}.label.offered{fill:var(--soft)}
.line.came{stroke:var(--p90)}.dot.came,.label.came{fill:var(--p90)}
.line.served{stroke:var(--s3)}.dot.served,.label.served{fill:var(--s3)}
.mark.bad{stroke:var(--bad)}.label.bad{fill:var(--bad)}.mark.knee{stroke:var(--knee)}.label.knee{fill:var(--knee)}
.s0{fill:var(--s0)}.s1{fill:var(--s1)}.s2{fill:var(--s2)}.s3{fill:var(--s3)}.s4{fill:var(--s4)}.s5{fill:var(--s5)}.s6{fill:var(--s6)}.s7{fill:var(--s7)}.s8{fill:var(--s8)}
.keys{display:flex;flex-wrap:wrap;gap:4px 16px;margin:6px 0 0;padding:0;list-style:none;font-size:13px}
.keys svg{display:inline-block;width:11px;height:11px;margin-right:6px;vertical-align:-1px}
summary{cursor:pointer;font-weight:600;font-size:14px}
.scroll{overflow-x:auto;margin-top:8px}
table{border-collapse:collapse;width:100%;font-size:13.5px;font-variant-numeric:tabular-nums}
caption{text-align:left;font-weight:600;padding-bottom:4px;font-size:14px}
th,td{text-align:right;padding:5px 10px;border-bottom:1px solid var(--grid);white-space:nowrap;vertical-align:top}
thead th{color:var(--soft);font-weight:600;border-bottom-color:var(--edge)}
th:first-child,td:first-child{text-align:left;padding-left:0}
td.text,th.text{text-align:left;white-space:normal;min-width:110px}
tr.bad td,tr.bad th{color:var(--bad)}
tbody th{font-weight:600}
dl{display:grid;grid-template-columns:max-content 1fr;gap:3px 18px;margin:8px 0 0;font-size:13.5px}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
code{font:12.5px/1.5 ui-monospace,SFMono-Regular,Menlo,monospace}
@media print{body{background:#fff}section,.card{break-inside:avoid}}
"""
