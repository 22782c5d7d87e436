-- Names of the fields of a run's state and of an IR's adjacency, as run.lua describes them: each is spelled here alone, and by
-- src/redis/run_state.ts; a test compares the two.

-- Of the run itself.
local RUN = { digest = 'd', counts = 'c', status = 's', halted = 'x', paused = 'p', permits = 'm', holding = 'h', last_command = 'k',
  compensating = 'z', rests = 'V', unhandled = 'u', input = 'i' }
-- Of one of its nodes (arrivals: counted at a join) and edges; the number follows, then `@` and the scope. Of a scope, which follows as `@scope`.
local FIELD = { execution = 'n', output = 'o', arrivals = 'a', arrival = 'e', map = 'M', result = 'r', scope_counter = 'c', item_failure = 'u' }
-- Of an IR; the number of the node follows. body: what that of a loop or map node is like · fields: what a scope of it may have
local ADJACENCY = { out = 'o', into = 'i', body = 'm', fields = 'k' }
