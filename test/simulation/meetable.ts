/** Takes away rules that might never be met, which the compiler refuses: rather too many of them than too few. */
import { type Graph, type SimulatedEdge, type SimulatedNode, targetsOf } from "./model.ts";
import { Structure } from "./structure.ts";

export function withMeetableRules(graph: Graph): Graph {
  const structure = new Structure(graph);
  const nodes = graph.nodes.map((node) => {
    if (mayBeMet(node, structure)) return node;
    const { trigger_rule: _rule, cancel_rest: _rest, ...others } = node;
    return others as SimulatedNode;
  });
  return { ...graph, nodes };
}

function mayBeMet({ id, trigger_rule: rule }: SimulatedNode, structure: Structure): boolean {
  const bringsFailure = ({ from }: SimulatedEdge): boolean => !structure.outgoing(from).some(handlesAll);
  if (rule === "one_failed") return structure.incoming(id).some(bringsFailure);
  if (rule === "all_failed") return structure.incoming(id).every(bringsFailure);
  const needsSeveral = rule === "all_success" || (typeof rule === "object" && rule.quorum > 1);
  return (
    !needsSeveral || ![...structure.ancestors(id)].some((from) => chooses(structure.node(from), structure))
  );
}

function handlesAll({ on = "success", condition }: SimulatedEdge): boolean {
  return on !== "success" && condition === undefined;
}

/** Does it take some of its edges only where it does not take others? */
function chooses(node: SimulatedNode, structure: Structure): boolean {
  const edges = structure.outgoing(node.id);
  const success = edges.filter(({ on = "success" }) => on === "success");
  if (success.length > 0 && edges.some(({ on }) => on === "failure")) return true;
  const takesOne = node.type === "conditional" && node.mode !== "all";
  const hasPaths =
    node.type === "loop" && [...targetsOf(node.break_path), ...targetsOf(node.timeout_path)].length > 0;
  return success.length > 1 && (takesOne || hasPaths);
}
