/**
 * The comparison as one SVG picture: a panel for each quantity, a bar for each engine, a line for the spread of its samples; and what
 * a step costs, by process.
 */
import { shown } from "../report.ts";
import type { Spread } from "../statistics.ts";
import { PARTS, TITLES, WORKS } from "./engine.ts";
import { type Comparison, cpuSum, rateOf } from "./report.ts";

interface Bar {
  title: string;
  own: boolean;
  spread: Spread;
  /** What the bar is made of, in the order of `PARTS`; absent: one piece. */
  pieces?: readonly number[];
}

interface Panel {
  title: string;
  bars: Bar[];
}

const WIDTH = 720;
const LABEL_WIDTH = 130;
const VALUE_WIDTH = 165;
const BAR_HEIGHT = 18;
const BAR_GAP = 6;
const TITLE_HEIGHT = 30;
const PANEL_GAP = 14;
const MARGIN = 16;
const LEGEND_HEIGHT = 18;
const PART_COLORS = ["#dc2626", "#2563eb", "#c2410c", "#a16207", "#94a3b8"];
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
  const costs = {
    title: `CPU µs per step by process, ${TITLES.chain} (less is better)`,
    bars: throughput
      .filter(({ work }) => work === "chain")
      .map((one): Bar => {
        const pieces = PARTS.map((part) => one.cpu_us_per_step[part]?.median ?? 0);
        const all = cpuSum(one);
        return { ...bar(one.engine, { min: all, median: all, max: all }), pieces };
      }),
  };
  return [...rates, ...latencies, costs].filter(({ bars }) => bars.length > 0);
}

/** Bars of pieces are explained below them. */
const hasLegend = ({ bars }: Panel): boolean => bars.some(({ pieces }) => pieces !== undefined);

function panelHeight(panel: Panel): number {
  const legend = hasLegend(panel) ? LEGEND_HEIGHT : 0;
  return TITLE_HEIGHT + panel.bars.length * (BAR_HEIGHT + BAR_GAP) + legend + PANEL_GAP;
}

/** Pieces of one bar, from left to right. */
function drawPieces(pieces: readonly number[], x: (value: number) => string, y: number): string {
  let from = 0;
  const drawn = pieces.flatMap((piece, index) => {
    const [begin, end] = [x(from), x(from + piece)];
    from += piece;
    const width = (Number(end) - Number(begin)).toFixed(1);
    const color = PART_COLORS[index] as string;
    return piece === 0
      ? []
      : [
          `<rect x="${begin}" y="${y}" width="${width}" height="${BAR_HEIGHT}" fill="${color}" class="piece"/>`,
        ];
  });
  return drawn.join("\n");
}

function drawLegend(left: number, y: number): string {
  const each = 110;
  return PARTS.map((part, index) => {
    const x = left + index * each;
    const color = PART_COLORS[index] as string;
    return `<rect x="${x + 1}" y="${y}" width="10" height="10" fill="${color}"/><text x="${x + 15}" y="${y + 9}" font-size="10">${part}</text>`;
  }).join("\n");
}

function drawPanel(panel: Panel, top: number): string {
  const most = Math.max(...panel.bars.map(({ spread }) => spread.max));
  const room = WIDTH - 2 * MARGIN - LABEL_WIDTH - VALUE_WIDTH;
  const left = MARGIN + LABEL_WIDTH;
  const x = (value: number) => (left + (most > 0 ? value / most : 0) * room).toFixed(1);
  const reference = panel.bars.find(({ own }) => own)?.spread.median;
  const bars = panel.bars.map(({ title, own, spread, pieces }, index) => {
    const y = top + TITLE_HEIGHT + index * (BAR_HEIGHT + BAR_GAP);
    const middle = y + BAR_HEIGHT / 2;
    const width = (Number(x(spread.median)) - left).toFixed(1);
    const weight = own ? ' font-weight="bold"' : "";
    return [
      `<text x="${left - 8}" y="${middle + 4}" text-anchor="end"${weight}>${escapeXml(title)}</text>`,
      pieces
        ? drawPieces(pieces, x, y)
        : `<rect x="${left}" y="${y}" width="${width}" height="${BAR_HEIGHT}" fill="${own ? OWN_COLOR : OTHER_COLOR}"/>`,
      `<line x1="${x(spread.min)}" x2="${x(spread.max)}" y1="${middle}" y2="${middle}" stroke="#1e293b"/>`,
      `<text x="${(Number(x(spread.max)) + 8).toFixed(1)}" y="${middle + 4}"${weight}>${shown(spread.median)}${own ? "" : ratioTo(reference, spread)}</text>`,
    ].join("\n");
  });
  const heading = `<text x="${MARGIN}" y="${top + 18}" font-size="13" font-weight="bold">${escapeXml(panel.title)}</text>`;
  const below = top + TITLE_HEIGHT + panel.bars.length * (BAR_HEIGHT + BAR_GAP);
  const legend = hasLegend(panel) ? [drawLegend(left, below)] : [];
  return [heading, ...bars, ...legend].join("\n");
}

/** What hitzero makes of it, behind the number. */
function ratioTo(own: number | undefined, { median }: Spread): string {
  return own === undefined || median === 0 ? "" : ` (hitzero ${shown(own / median)} ×)`;
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
