/** The comparison as one SVG picture: a panel for each quantity, a bar for each engine, a line for the spread of its samples. */
import { shown } from "../report.ts";
import type { Spread } from "../statistics.ts";
import { TITLES, WORKS } from "./engine.ts";
import { type Comparison, rateOf } from "./report.ts";

interface Bar {
  title: string;
  own: boolean;
  spread: Spread;
}

interface Panel {
  title: string;
  bars: Bar[];
}

const WIDTH = 720;
const LABEL_WIDTH = 130;
const VALUE_WIDTH = 90;
const BAR_HEIGHT = 18;
const BAR_GAP = 6;
const TITLE_HEIGHT = 30;
const PANEL_GAP = 14;
const MARGIN = 16;
const OWN_COLOR = "#c2410c";
const OTHER_COLOR = "#94a3b8";

function escapeXml(text: string): string {
  return text.replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`);
}

function panelsOf({ throughput, hops, engines }: Comparison): Panel[] {
  const bar = (name: string, spread: Spread): Bar => ({
    title: engines.find((engine) => engine.name === name)?.title ?? name,
    own: name === "hitzero",
    spread,
  });
  const rates = WORKS.map((work) => ({
    title: `${TITLES[work]}, ${work === "single" ? "runs" : "steps"} per second (more is better)`,
    bars: throughput.filter((one) => one.work === work).map((one) => bar(one.engine, rateOf(one))),
  }));
  const latencies = [
    {
      title: "step to step on an idle engine, p50 in ms (less is better)",
      bars: hops.map((one) => bar(one.engine, one.p50_ms)),
    },
    {
      title: "step to step on an idle engine, p99 in ms (less is better)",
      bars: hops.map((one) => bar(one.engine, one.p99_ms)),
    },
  ];
  return [...rates, ...latencies].filter(({ bars }) => bars.length > 0);
}

function panelHeight({ bars }: Panel): number {
  return TITLE_HEIGHT + bars.length * (BAR_HEIGHT + BAR_GAP) + PANEL_GAP;
}

function drawPanel(panel: Panel, top: number): string {
  const most = Math.max(...panel.bars.map(({ spread }) => spread.max));
  const room = WIDTH - 2 * MARGIN - LABEL_WIDTH - VALUE_WIDTH;
  const left = MARGIN + LABEL_WIDTH;
  const x = (value: number) => (left + (most > 0 ? value / most : 0) * room).toFixed(1);
  const bars = panel.bars.map(({ title, own, spread }, index) => {
    const y = top + TITLE_HEIGHT + index * (BAR_HEIGHT + BAR_GAP);
    const middle = y + BAR_HEIGHT / 2;
    const width = (Number(x(spread.median)) - left).toFixed(1);
    const weight = own ? ' font-weight="bold"' : "";
    return [
      `<text x="${left - 8}" y="${middle + 4}" text-anchor="end"${weight}>${escapeXml(title)}</text>`,
      `<rect x="${left}" y="${y}" width="${width}" height="${BAR_HEIGHT}" fill="${own ? OWN_COLOR : OTHER_COLOR}"/>`,
      `<line x1="${x(spread.min)}" x2="${x(spread.max)}" y1="${middle}" y2="${middle}" stroke="#1e293b"/>`,
      `<text x="${(Number(x(spread.max)) + 8).toFixed(1)}" y="${middle + 4}"${weight}>${shown(spread.median)}</text>`,
    ].join("\n");
  });
  const heading = `<text x="${MARGIN}" y="${top + 18}" font-size="13" font-weight="bold">${escapeXml(panel.title)}</text>`;
  return [heading, ...bars].join("\n");
}

/** An SVG document. Bars are medians; the line goes from the least sample to the most. */
export function chartSvg(comparison: Comparison): string {
  const { surroundings: at, plan, engines } = comparison;
  const panels = panelsOf(comparison);
  let top = MARGIN;
  const drawn = panels.map((panel) => {
    const text = drawPanel(panel, top);
    top += panelHeight(panel);
    return text;
  });
  const versions = engines.map(({ title, version }) => `${title} ${version}`).join(", ");
  const notes = [
    versions,
    `${at.cpus} × ${at.cpu}, medians of ${plan.samples}${plan.quick ? ", a quick run: it measures badly" : ""}; hitzero keeps its full history in Postgres`,
  ];
  const footer = notes.map(
    (note, index) =>
      `<text x="${MARGIN}" y="${top + 12 + index * 16}" font-size="10" fill="#475569">${escapeXml(note)}</text>`,
  );
  const height = top + notes.length * 16 + MARGIN;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12" fill="#0f172a">`,
    `<title>hitzero beside its peers</title>`,
    `<rect width="${WIDTH}" height="${height}" fill="#ffffff"/>`,
    ...drawn,
    ...footer,
    "</svg>\n",
  ].join("\n");
}
