-- A dead letter is an execution with which workers died that performed nothing else, not one that was handed out often.
alter table hitzero.dead_letters add column losses int not null default 0;
alter table hitzero.dead_letters add column last_words text;
comment on table hitzero.dead_letters is 'Executions with which workers died again and again.';
comment on column hitzero.dead_letters.losses is 'How many workers died that performed it and nothing else.';
comment on column hitzero.dead_letters.last_words is 'What is known of the last of these deaths: exit code or signal, and what was said.';
