-- The letters that stand for states, outcomes and kinds inside of values: each is spelled here alone, and by src/token/letters.ts, where
-- TypeScript has the same ones; a test compares the two. Where they stand is said in run.lua, settle.lua, waiting.lua and emit.lua.

-- What state an execution is in (field n of its run).
local EXECUTION = { active = 'A', completed = 'C', failed = 'F', cancelled = 'X', skipped = 'S' }
-- In place of an active execution's worker: it is put aside while the run is paused, or until another gives its permit back.
local ASIDE = { paused = '~', permits = '%' }
-- What a worker's performance came to.
local OUTCOME = { completed = 'C', failed = 'F', cancelled = 'X', retrying = 'R', waiting = 'W' }
-- What status a run has, and what its counter's zero comes to.
local STATUS = { running = 'R', completed = 'C', failed = 'F', cancelled = 'X' }
-- What an edge carries, and on which outcomes it may be taken.
local ARRIVAL = { taken = 't', not_taken = 'n', failed = 'f' }
local ON = { success = 's', failure = 'f', always = 'a' }
-- Work that is to be done, by its mode (settle.lua).
local MODE = { routed = '=', taken = 'T', failed = 'X', upstream_failed = 'U', not_taken = 'N',
  iteration = 'A', items = 'F', entries = 'E', results = 'D', scope = 'C', withdrawals = 'W' }
-- What an execution waits for, and what it was woken by (asked: whether the map is complete).
local PARK = { time = 'w', signal = 's', items = 'm', child = 'c' }
local WOKEN = { signal = 'S', child = 'C', items = 'M', asked = 'K' }
-- What an output is: JSON, the name of a blob, or the error that dependents see.
local OUTPUT = { json = 'j', blob = 'b', error = 'e' }
-- What is marked of a map's item that left no result: it failed, or none of several terminals completed.
local ITEM = { failed = 'x', empty = 'e' }
-- What a worker says of itself when it lists what it holds: it is about to leave.
local LISTED = { leaves = 'l' }
-- What a token is for.
local TOKEN = { execution = 'n', settle = 's' }
-- What a journal entry tells.
local EVENT = { started = 's', running = 'n', commanded = 'c', redelivered = 'l', retrying = 'r', parked = 'p', finished = 'f', plain = 'k', settled = 'w' }
-- What the small step answers of an item (done, and what it handed over: nothing, one, several; a claim runs); in place of an output or of sources, that they are the predecessor's own, or that alone.
local ANSWER = { done = 'd', handed = 'h', several = 'm', runs = 'r', slow = 's', own = '-', own_alone = '=' }
