-- The fields of a run's state and of an IR's adjacency: what each is called, how it is spelled, what it holds. They are spelled here alone, and by
-- src/redis/run_state.ts; a test compares the two. Names are folded into the scripts when they are loaded (src/redis/load_scripts.ts).

-- A run's state (hash). Of the run itself:
--   digest         of its IR
--   counts         generation,counter,number of the last event,1 if anything is special about the run (`is_special`, run.lua; else empty)
--   status         R, C, F, X
--   halted         why: cancel, time_out, fail_fast, stuck
--   paused         1 while it is
--   permits        executions that may hold a worker at once · holding: those that do (only with permits)
--   last_command   the number of the last that was applied
--   compensating   the verdict, while the run undoes what it did · undoing: what is performed for that, `node@scope`
--   compensations  how many completed executions can be compensated
--   rests          names of work that comes before all else, with commas (see settle.lua)
--   unhandled      first unhandled failure, `node@scope`
--   input          j<JSON>
local RUN = { digest = 'd', counts = 'c', status = 's', halted = 'x', paused = 'p', permits = 'm', holding = 'h', last_command = 'k',
  compensating = 'z', undoing = 'Z', compensations = 'K', rests = 'V', unhandled = 'u', input = 'i' }

-- Of one of its nodes, or edges (arrival): the number follows and, but at the top, `@` and the scope.
--   execution      `A:nonce:delivery:attempt:worker:source,source…` active (worker empty: queued, timed or waiting; ~ put aside while the run is
--                  paused, % put aside until another gives its permit back; a source is `node`, or `node^k` when its output is kept k
--                  components further out; `*` at a wide join: all that sent a taken arrival)
--                  `C|F:nonce:delivery:handed,handed…` resolved, with what went straight to the worker that resolved it
--                  `S:reason:origin` skipped · `X:nonce:delivery:` cancelled
--   output         j<JSON> or b<name of a blob>; a loop node's is kept one component further out
--   arrivals       counted at a join: taken,not taken,failed, and with a failure: first failed edge, the node it stems from
--   arrival        one at a join: t, n, or f<index of the failed node>
--   waits          an execution that waits: w for a time, s for a signal, m for its items, c for its child run; and once it was woken:
--                  S<payload> by a signal, C<payload> by its child, M<how they ended> by its items, K<counts> to ask complete_when
--   losses         workers that were lost with the execution: lost,alone,unexplained,words (losses.lua)
--   ended_item     1: a node of a map's body that took none of its edges, and so ended its item; kept where its output is
--   iteration      of a loop node: its current one
--   map            of a map node: total,next item to begin,items under way,items over,failed items,first failed item,its node,
--                  no more are added,items are over that complete_when has not seen,stopped
--   results        of its items: behind the scope `#item.node` what that node put out, `#item.x` it failed, `#item.e` none of several terminals completed
--   burial         of a map that is gone: items of it are still to be withdrawn, by that node, which counts 1
--   place          in the line of those that wait for a signal: number:name
-- Behind these a name or number alone:
--   semaphore      and its name: permits that are taken
--   compensation   and a number, in order of completion: node|scope|queue|the node that is undone
--   rest           and its name: work that is still to be done (settle.lua)
local FIELD = { execution = 'n', output = 'o', arrivals = 'a', arrival = 'e', waits = 'p', losses = 'f', ended_item = 't', iteration = 'i',
  map = 'M', results = 'r', burial = 'b', place = 'l', semaphore = 'y', compensation = 'K', rest = 'w' }

-- Of a scope of its own, which follows behind `@`:
--   counter        of map items, and of iterations of loops in which something may still go on
--   unhandled      first unhandled failure of a map item (node)
--   goes_round     of an iteration: the next one follows when its counter is zero
local SCOPE = { counter = 'c', unhandled = 'u', goes_round = 'L' }

-- Of signals (waiting.lua):
--   line           and the name: first,last,number,kept: the ends of the line of those that wait, the number given last, how many signals are kept
--   waiter         number:name: one that waits: before,after,node,queue,scope
--   early_line     `@scope` unless it is for anybody, and `:name`: first,last: the ends of a line of signals that nobody waited for
--   early          number:name: such a signal: after:payload
local SIGNAL = { line = 's', waiter = 'S', early_line = 'E', early = 'F' }

-- An IR's adjacency (hash); the number of a node follows. Long lists (out, withdrawn, scope_fields) lie in parts of `limits.part`: o3, o3+1, …
--   out            outgoing edges [[edge, to, on, fan-in of to, rule of to, queue of to, …], …] and, unless all of them are zero, behind it: scopes left,
--                  components entered (`poll:1`), number of these, 1 if `to` is claimed before it runs (guards), 1 if it withdraws when it fires
--   into           of a join that is not wide (such has its arrivals looked through by the worker): [[edge, from, components entered], …]
--   component      and the id of a scope's component: its body {k loop|map, n node, c counted}
--   body           of a loop or map node: {id, queue, loops (directly in it)}, and of a map {window, results (terminals), ends, asks (complete_when)}
--   scope_fields   of such a node: names of the fields that a scope of its body may have, without the scope
--   guards         {holds [[semaphore, permits]]}
--   withdrawal     when the node withdraws others {at done|fire|event} · withdrawn: whom [[node, [loop, …], queue]], with the loops inside the scope
--                  around each, and the queue of what may wait for a time
-- Whole names: ordered, when the outcome hangs on the order of steps; complete, when all of it is there.
local ADJACENCY = { out = 'o', into = 'i', component = 'B', body = 'm', scope_fields = 'k', guards = 'g', withdrawal = 'x', withdrawn = 'X',
  ordered = 'ordered', complete = 'complete' }
-- What begins, in the place of a node: the run; an item of a map, or an iteration of a loop, whose node follows.
local BEGINNING = { run = 'root', item = 'B', iteration = 'b' }
