/*
 * The takeover and re-arm protocol of Understudy, for the model checker Spin. `formal/run` checks it; README.md
 * says what is modelled, what is not, and how to read a counterexample.
 *
 * Read it beside the code: every inline below bears the name of the function that it stands for, and the comment
 * above it names the file. The four parts of the file are
 *
 *   1. the truth       QEMU processes, guests' kernels and agents, areas, addresses: what a daemon cannot lose
 *   2. the core        src/core/: volatile state, handlers, what they put out
 *   3. the engine      src/engine/engine.cpp: journal first, then the acts in the written order, and a crash of the
 *                      daemon before, between or after any of them
 *   4. processes       the daemon (one core step is one atomic action), the guests with their faults, the judge
 *
 * ---- what is abstracted, and why that is sound ----
 *
 * Time. There is none. A deadline (boot, sizing, plugging, engaging, starting, stopping, releasing) may pass when
 *   nothing more can come from the guest (QUIET), and, at the price of one fault, at any other moment: no less behaviour
 *   than the code has within the bound on faults. `avoid`, back-off and the order of preference only choose among candidates: the
 *   model tries every candidate.
 * One core step is atomic, as in the daemon, which has one thread. Its acts only post requests or set switches, so
 *   whatever the world does between two of them it could as well do after both; what matters is that the daemon may
 *   die between any two, and that is modelled (crash_at). A crash of an idle daemon is a crash after the last act of
 *   its last step, with the world going on meanwhile.
 * advance(Application) in Choosing, and advance(Guest) in Off and Fenced, are actions of their own here, in any order
 *   and with anything in between; in the code they are the end of the step that made them possible. More behaviour
 *   again. So is leaving out that booting waits for a takeover under way.
 * A place, and what area records say about one, name a guest and not its run: they are cleared in the step that ends
 *   the run, which launch() asserts. Messages do carry the run, since they can be late.
 * An area is mapped whole and goes online whole. Areas are alike, so which unused ones are granted does not matter.
 *   Need is counted in areas; base memory is what the OS needs.
 * The link (src/link/) drops what an agent said to a former daemon or before its greeting, repeats what was not
 *   answered when a channel was lost, and passes AreasEngaged only for exactly the areas that were asked for. What the
 *   former daemon had sent to an agent may be lost with it or may still arrive.
 * The hypervisor port (src/qemu/): a fence and its answer are one action (between them nothing can happen that a crash
 *   before the answer does not show). What a former daemon had asked of a monitor is done before adoption or never.
 * A guest that panicked or hangs counts as one that may execute until it is verified stopped. A hang may end, and a
 *   suspension, in which QEMU says that its vCPUs do not run, does. "Stopped" is held by two things, each enough; one
 *   of them may fail at any moment.
 */

/* ---- configuration; formal/run chooses ---- */
#ifndef APPS
#define APPS 2
#endif
#ifndef AREAS
#define AREAS 2
#endif
#ifndef NEED
#define NEED 1    /* areas that an application should have */
#endif
#ifndef LEAST
#define LEAST NEED /* with less it is not started (minimum_bytes) */
#endif
#ifndef FAULTS
#define FAULTS 1  /* of guests, agents, applications and requests; switchovers and slowness count too */
#endif
#ifndef CRASHES
#define CRASHES 1 /* of the daemon */
#endif

#ifdef NO_ASSERTIONS  /* so that a planted mistake has to break the promise itself and not an assertion before it */
#define assert(what) skip
#endif

#define GUESTS 2
#define NOWHERE 9
#define NOBODY 9
#define NEVER 99

/* ================================================================ 1. the truth ======================== */

/* a QEMU process and the OS in it */
#define GONE 0      /* no process */
#define BOOTING 1
#define UP 2
#define PANICKED 3
#define HUNG 4
#define STOPPED 5   /* by a fence, and held (see `held`); the process is still there */
#define SUSPENDED 6 /* its vCPUs do not run, as in STOPPED, but an alarm of its clock ends that */

/* an application in a guest; src/agent/application.hpp */
#define IDLE 0
#define STARTS 1
#define SERVES 2
#define ENDED 3     /* it served and was given up: AppFaulted is its standing word */
#define NOT_STARTED 4 /* AppStartFailed is */
#define STOPS 5     /* asked to end; it still executes */

/* an area in a guest */
#define ABSENT 0
#define MAPPED 1    /* plugged, its blocks not online yet */
#define ONLINE 2
#define OFFLINE 3   /* its blocks were taken offline by a release */

byte vm[GUESTS];
byte vm_run[GUESTS];          /* which run that is */
byte held[GUESTS];            /* of STOPPED, a mask: by which of these. Either is enough, and either may fail */
#define BY_STATE 1            /* QEMU is in a state that only a command of its monitor ends */
#define BY_SIGNAL 2           /* SIGSTOP: none of its threads runs */
bit hold_failed;              /* one did; that two of them fail is not promised anything about */
bit silent[GUESTS];           /* the agent is stuck; the kernel and the applications go on */
bit greets[GUESTS];           /* the agent has still to greet */
#define AT(g, a) ((g) * APPS + (a))
byte inside[GUESTS * APPS];
byte inside_epoch[GUESTS * APPS]; /* newest that the agent has seen */
byte engaging[GUESTS * APPS]; /* areas (a mask) that the agent waits for to come online */
byte engaging_epoch[GUESTS * APPS];
#define IN(g, r) ((g) * AREAS + (r))
byte area_in[GUESTS * AREAS];
bit confirmed[GUESTS * AREAS]; /* the agent said so */
byte route_to[APPS];          /* where the address leads */
byte faults = FAULTS;
byte crashes = CRASHES;

#define MAY_EXECUTE(g) (vm[g] != GONE && (vm[g] != STOPPED || held[g] == 0))
#define EXECUTES(g, a) (inside[AT(g, a)] == STARTS || inside[AT(g, a)] == SERVES || inside[AT(g, a)] == STOPS)
#define RUNS(g, a) (MAY_EXECUTE(g) && EXECUTES(g, a))
#define USES(g, r) (MAY_EXECUTE(g) && area_in[IN(g, r)] != ABSENT)

mtype = { Hello, Lost, NeedStated, AreasEngaged, EngageFailed, AppServing, AppStartFailed, AppFaulted, AppStopped,
          StopFailed, AreasReleased, AppsStated,                           /* agents say */
          Need, Engage, Start, Stop, Release, State,                       /* agents are asked */
          AreaPlugged, PlugFailed, AreaUnplugged, UnplugFailed };          /* monitors say */

/* kind, run, application, epoch, what (areas; AppsStated: application and epoch are the epochs that run of 0 and 1,
 * what says which of them are being ended) */
chan from_agent[GUESTS] = [4] of { mtype, byte, byte, byte, byte };
chan to_agent[GUESTS] = [4] of { mtype, byte, byte, byte };
chan from_monitor[GUESTS] = [4] of { mtype, byte, byte };
/* what monitors were asked for and have not done yet: guest + 1 by area */
byte to_plug[AREAS];
byte to_unplug[AREAS];

/* ---- the journal: survives the daemon ---- */
#define J_OFF 0
#define J_UP 1
#define J_FENCING 2
#define J_FENCED 3
#define J_WAITING 0
#define J_MOVING 1
#define J_SERVING 2
#define J_LEAVING 3
byte j_guest[GUESTS];
byte j_run[GUESTS];
byte j_app[APPS];
byte j_in[APPS];
byte j_epoch[APPS];
byte j_area[AREAS];
byte j_user[AREAS];
byte j_area_in[AREAS];

/* ================================================================ 2. the core ======================== */

/* guest_state in core/guest.hpp. Launching and Booting are one: nothing depends on which it is. */
#define Off 0
#define Adopting 1
#define Coming 2
#define Ready 3
#define Suspect 4
#define Fencing 5
#define Fenced 6
#define Discarding 7
byte guest[GUESTS];
byte was[GUESTS];             /* of Adopting: GuestDurable */
bit adopted[GUESTS];
byte life[GUESTS];

/* move_step and app_state in core/application.hpp */
#define Choosing 0
#define Sizing 1
#define Plugging 2
#define Engaging 3
#define Starting 4
#define Serving 5
#define Stopping 6
#define Releasing 7
#define FencingApp 8
#define Resuming 9
#define ResumingLeaving 10
#define ServingUnconfirmed 11
byte app[APPS];
byte place[APPS];             /* guest, or NOWHERE */
byte epoch[APPS];
#define IS_SERVING(a) (app[a] == Serving || app[a] == ServingUnconfirmed)

/* AreaState in core/records.hpp; there is one trust domain and so no scrubbing */
#define a_unused 0
#define a_held 1
#define a_plugging 2
#define a_plugged 3
#define a_engaged 4
#define a_releasing 5
#define a_unplugging 6
byte area[AREAS];
byte user[AREAS];
byte within[AREAS];           /* Area::in */

bit up = 1;                   /* the daemon */
bit linked[GUESTS];           /* it is connected to this guest's agent */
bit fence_asked[GUESTS];      /* the port is at it */
bit adopt_asked[GUESTS];

/* Outputs of one step. They, and the working variables, are used inside of d_steps only and zero between them, so
 * they need not be part of a state (`hidden`). */
hidden byte o_withdraw[APPS];
hidden byte o_adopt[GUESTS];
hidden byte o_fence[GUESTS];
hidden byte o_state[GUESTS];
hidden byte o_stop[APPS];
hidden byte o_release[APPS];
hidden byte o_unplug[AREAS];
hidden byte o_need[APPS];
hidden byte o_plug[AREAS];
hidden byte o_engage[APPS];
hidden byte o_start[APPS];
hidden byte o_route[APPS];
hidden byte o_discard[GUESTS];
hidden byte o_launch[GUESTS];

byte crash_at;
hidden byte v_acts, v_x, v_y, v_z, v_n, v_mask, v_wanted;
hidden byte v_any;
hidden byte v_leaves[APPS], v_condemned, v_stopped;
hidden mtype m_kind;
hidden byte m_run, m_app, m_epoch;
byte m_what;
/* of an agent's step */
hidden mtype v_kind;
hidden byte v_a, v_e, v_what, v_w, v_i;
hidden byte v_yes;

/* ---- core/table.cpp ---- */
inline hold(r, a) { assert(area[r] == a_unused); area[r] = a_held; user[r] = a }
inline begin_plug(r, g) { assert(area[r] == a_held && within[r] == NOWHERE); area[r] = a_plugging; within[r] = g }
inline begin_release(r) { assert(area[r] == a_plugged || area[r] == a_engaged); area[r] = a_releasing }
inline begin_unplug(r) { assert(area[r] == a_releasing); area[r] = a_unplugging }
inline leave(r) { area[r] = a_held; within[r] = NOWHERE }      /* unplugged(), plug_failed(), found_absent() */
inline free_area(r) { assert(area[r] == a_held); area[r] = a_unused; user[r] = NOBODY }
inline free_held(a) {
  for (v_z : 0 .. AREAS - 1) { if :: area[v_z] == a_held && user[v_z] == a -> free_area(v_z) :: else fi }
}
inline count_in_use(a, g) {   /* in_use_by().size() */
  v_n = 0;
  for (v_z : 0 .. AREAS - 1) { if :: user[v_z] == a && within[v_z] == g -> v_n++ :: else fi }
}
/* Table::check(): the consistency of every row */
inline check_table() {
  for (v_z : 0 .. AREAS - 1) {
    assert((within[v_z] != NOWHERE) == (area[v_z] >= a_plugging));
    assert((user[v_z] != NOBODY) == (area[v_z] != a_unused))
  }
}

/* ---- core/moves.cpp, core/leaving.cpp: the steps of a move ---- */
inline enter_choosing(a) { app[a] = Choosing; place[a] = NOWHERE }
inline enter_sizing(a, g) { app[a] = Sizing; place[a] = g; o_need[a] = 1 }
inline enter_starting(a) { app[a] = Starting; o_start[a] = 1 }
inline enter_fencing(a) { app[a] = FencingApp }
inline enter_stopping(a) {
  if
  :: adopted[place[a]] -> app[a] = ResumingLeaving  /* its agent has not said yet what runs there */
  :: else -> app[a] = Stopping; o_stop[a] = 1
  fi
}
inline release_finished(a) { enter_choosing(a) }
/* Three decisions are taken note of and carried out at the end of the step: Spin writes an inline out at each call and
 * limits the length of a d_step. Nobody does anything after calling one of them. */
inline enter_releasing(a) { v_leaves[a] = 1 }
inline condemn(g) { v_condemned = g + 1 }
inline stopped(g) { v_stopped = g + 1 }
inline do_enter_releasing(a) {
  v_mask = 0;
  for (v_z : 0 .. AREAS - 1) {
    if
    :: user[v_z] == a && within[v_z] == place[a] && area[v_z] != a_unplugging ->
       if :: area[v_z] != a_releasing -> begin_release(v_z) :: else fi;
       v_mask = v_mask | (1 << v_z)
    :: else
    fi
  }
  if
  :: v_mask == 0 -> count_in_use(a, place[a]); assert(v_n == 0); release_finished(a)
  :: else -> app[a] = Releasing; o_release[a] = v_mask
  fi
}
inline engage_if_complete(a, g) {
  v_mask = 0; v_any = 0;
  for (v_z : 0 .. AREAS - 1) {
    if
    :: user[v_z] == a && within[v_z] == g && area[v_z] == a_plugging -> v_any = 1
    :: user[v_z] == a && within[v_z] == g && area[v_z] != a_plugging -> v_mask = v_mask | (1 << v_z)
    :: else
    fi
  }
  if
  :: v_any
  :: else ->
#ifdef START_BEFORE_CONFIRM
     app[a] = Engaging; enter_starting(a)   /* planted: the areas are plugged, that will do */
#else
     app[a] = Engaging; o_engage[a] = v_mask
#endif
  fi
}

/* ---- core/outputs.cpp: one event may lead to a request and, in the same step, to the end of its reason ---- */
inline take_back_from(g) {
  for (v_x : 0 .. APPS - 1) {
    if
    :: place[v_x] == g -> o_release[v_x] = 0; o_need[v_x] = 0; o_engage[v_x] = 0; o_start[v_x] = 0; o_route[v_x] = 0
    :: else
    fi
  }
  for (v_x : 0 .. AREAS - 1) { if :: within[v_x] == g -> o_unplug[v_x] = 0; o_plug[v_x] = 0 :: else fi }
}

/* ---- core/guests.cpp ---- */
inline do_stopped(g) {
  o_fence[g] = 0;                             /* GuestExited: its end is the proof that a fence asks for */
  assert(!MAY_EXECUTE(g));                    /* promise 3: unknown is never stopped */
  guest[g] = Fenced;
  for (v_y : 0 .. AREAS - 1) {                /* Table::guest_stopped() */
#ifdef FORGET_AREA
    if :: within[v_y] == g && v_y != AREAS - 1 -> leave(v_y) :: else fi  /* planted: one is overlooked */
#else
    if :: within[v_y] == g -> leave(v_y) :: else fi
#endif
  }
  for (v_x : 0 .. APPS - 1) {                 /* guest_stopped() in leaving.cpp */
    if
    :: app[v_x] == FencingApp && place[v_x] == g -> enter_choosing(v_x)
    :: IS_SERVING(v_x) -> free_held(v_x)
    :: else
    fi
  }
}
inline do_condemn(g) {
  if
  :: guest[g] == Ready || guest[g] == Suspect || guest[g] == Coming || guest[g] == Adopting ->
     guest[g] = Fencing;
     o_fence[g] = 1;
     take_back_from(g);
     for (v_x : 0 .. APPS - 1) {
       if
       :: place[v_x] == g ->
          if :: IS_SERVING(v_x) -> o_withdraw[v_x] = 1 :: else fi;
          enter_fencing(v_x)
       :: else
       fi
     }
  :: else
  fi
}
inline guest_exited(g) {                    /* handle(GuestExited) */
  if
  :: guest[g] == Off || guest[g] == Discarding || guest[g] == Fenced
  :: else ->
     condemn(g);
     stopped(g)
  fi
}
inline launch(g) {
  for (v_z : 0 .. AREAS - 1) { assert(within[v_z] != g) }  /* nobody and nothing is still in a former run */
  for (v_z : 0 .. APPS - 1) { assert(place[v_z] != g) }
  life[g]++;
  adopted[g] = 0;
  guest[g] = Coming;
  o_launch[g] = 1
}
inline agent_greeted(g) {
  if
  :: guest[g] == Coming ->
     guest[g] = Ready;
     if :: adopted[g] -> o_state[g] = 1 :: else fi
  :: guest[g] == Ready || guest[g] == Suspect ->
     guest[g] = Ready;                      /* heard() */
     if :: adopted[g] -> o_state[g] = 1 :: else fi  /* its former connection may have taken the answer with it */
  :: else
  fi
}

/* ---- core/moves.cpp: the new guest's answers ---- */
inline need_stated(g, a, missing) {
  v_n = 0;
  for (v_z : 0 .. AREAS - 1) {
    if :: (area[v_z] == a_held && user[v_z] == a) || area[v_z] == a_unused -> v_n++ :: else fi
  }
  v_y = 0;                                    /* grant(): plugged before a restart, not counted by its OS yet */
  for (v_z : 0 .. AREAS - 1) { if :: user[v_z] == a && within[v_z] == g && area[v_z] == a_plugged -> v_y++ :: else fi }
  if :: missing > v_y -> v_wanted = missing - v_y :: else -> v_wanted = 0 fi;
  v_any = 0;
  if
  :: v_n >= v_wanted
  :: v_n < v_wanted && v_n + v_y + NEED - missing < LEAST -> v_any = 1
  :: v_n < v_wanted && v_n + v_y + NEED - missing >= LEAST -> v_wanted = v_n
  fi;
  if
  :: v_any -> enter_releasing(a)
  :: else ->
     v_mask = 0; v_n = v_wanted;
     for (v_z : 0 .. AREAS - 1) {             /* its own first */
       if :: v_n > 0 && area[v_z] == a_held && user[v_z] == a -> v_mask = v_mask | (1 << v_z); v_n-- :: else fi
     }
     for (v_z : 0 .. AREAS - 1) {
       if :: v_n > 0 && area[v_z] == a_unused -> hold(v_z, a); v_mask = v_mask | (1 << v_z); v_n-- :: else fi
     }
     for (v_z : 0 .. AREAS - 1) {
       if :: area[v_z] == a_held && user[v_z] == a && !(v_mask & (1 << v_z)) -> free_area(v_z) :: else fi
     }
     app[a] = Plugging;
     count_in_use(a, g);
     if
     :: v_wanted == 0 && v_n == 0 -> enter_starting(a)
     :: v_wanted == 0 && v_n > 0 -> engage_if_complete(a, g)
     :: else ->
        for (v_z : 0 .. AREAS - 1) {
          if :: v_mask & (1 << v_z) -> begin_plug(v_z, g); o_plug[v_z] = 1 :: else fi
        }
     fi
  fi
}
inline areas_engaged(g, a) {
  for (v_z : 0 .. AREAS - 1) {
    if :: user[v_z] == a && within[v_z] == g && area[v_z] == a_plugged -> area[v_z] = a_engaged :: else fi
  }
  enter_starting(a)
}
inline app_serving(a) {
  free_held(a);
  app[a] = Serving;
  o_route[a] = 1
}

/* ---- core/leaving.cpp: what a living OS lets go of ---- */
inline areas_released(g, a, areas, why_not_all) {
  for (v_z : 0 .. AREAS - 1) {
    if
    :: (areas & (1 << v_z)) && area[v_z] == a_releasing && user[v_z] == a && within[v_z] == g ->
       begin_unplug(v_z); o_unplug[v_z] = 1
    :: else
    fi
  }
  if :: why_not_all -> condemn(g) :: else fi
}
inline area_unplugged(g, r) {
  if
  :: area[r] == a_unplugging && within[r] == g ->
     leave(r);
     v_y = user[r];
     if
     :: app[v_y] == Releasing -> count_in_use(v_y, place[v_y]); if :: v_n == 0 -> release_finished(v_y) :: else fi
     :: else
     fi
  :: else
  fi
}
inline area_plugged(g, r) {
  if
  :: area[r] == a_plugging && within[r] == g ->
     area[r] = a_plugged;
     v_y = user[r];
     if :: app[v_y] == Plugging -> engage_if_complete(v_y, g) :: else fi
  :: else
  fi
}

/* ---- core/resume.cpp ---- */
inline restore() {
  for (v_x : 0 .. GUESTS - 1) {
    life[v_x] = j_run[v_x];
    was[v_x] = j_guest[v_x];
    if
    :: j_guest[v_x] == J_OFF -> guest[v_x] = Off
    :: j_guest[v_x] == J_FENCED -> guest[v_x] = Fenced   /* handle(Resume): nothing is to be found out */
    :: else -> guest[v_x] = Adopting; adopted[v_x] = 1
    fi
  }
  for (v_x : 0 .. APPS - 1) {
    epoch[v_x] = j_epoch[v_x];
    place[v_x] = j_in[v_x];
    if
    :: j_app[v_x] == J_WAITING -> app[v_x] = Choosing
    :: j_app[v_x] == J_MOVING -> app[v_x] = Resuming
    :: j_app[v_x] == J_LEAVING -> app[v_x] = ResumingLeaving
    :: j_app[v_x] == J_SERVING -> app[v_x] = ServingUnconfirmed
    fi
#ifdef DOUBLE_START
    app[v_x] = Choosing; place[v_x] = NOWHERE   /* planted: whatever was, it is started now */
#endif
  }
  for (v_x : 0 .. AREAS - 1) { area[v_x] = j_area[v_x]; user[v_x] = j_user[v_x]; within[v_x] = j_area_in[v_x] }
}
inline resume() {
  for (v_x : 0 .. GUESTS - 1) { if :: guest[v_x] == Adopting -> o_adopt[v_x] = 1 :: else fi }
  for (v_x : 0 .. APPS - 1) {
    if :: !IS_SERVING(v_x) -> o_withdraw[v_x] = 1 :: else -> free_held(v_x) fi
  }
}
/* handle(GuestAdopted) with settle_areas(); `mapped` is the mask of what is plugged in it */
inline guest_adopted(g, executing, mapped) {
  if
  :: guest[g] == Fencing -> o_fence[g] = 1
  :: guest[g] == Adopting ->
     guest[g] = Coming;
     if
     :: was[g] == J_FENCING || !executing -> condemn(g)
     :: else ->                             /* settle_areas() */
        v_any = 0;
        for (v_z : 0 .. AREAS - 1) { if :: (mapped & (1 << v_z)) && within[v_z] != g -> v_any = 1 :: else fi }
        for (v_z : 0 .. AREAS - 1) {
          if
          :: !v_any && within[v_z] == g && (mapped & (1 << v_z)) && area[v_z] != a_engaged && area[v_z] != a_releasing ->
             area[v_z] = a_plugged                                                    /* found_plugged() */
          :: !v_any && within[v_z] == g && !(mapped & (1 << v_z)) -> leave(v_z)
          :: else
          fi
        }
        if :: v_any -> condemn(g) :: else fi
     fi
  :: else
  fi
}
inline resume_move(a, g, runs, ends) {
  if
  :: app[a] == ResumingLeaving || ends -> enter_stopping(a)
#ifdef RESUME_BY_SIZING
  :: app[a] == Resuming && !ends && !runs -> enter_sizing(a, g)
#else
  :: app[a] == Resuming && !ends && !runs -> enter_stopping(a)
#endif
  :: app[a] == Resuming && !ends && runs ->
     for (v_z : 0 .. AREAS - 1) {
       if :: user[v_z] == a && within[v_z] == g && area[v_z] == a_plugged -> area[v_z] = a_engaged :: else fi
     }
     enter_starting(a)
  :: else
  fi
}
inline resume_serving(a, runs, ends) {
  if
  :: ends -> o_withdraw[a] = 1; enter_stopping(a)   /* resume_ending() */
  :: !ends && runs -> app[a] = Serving; o_route[a] = 1
  :: else -> o_withdraw[a] = 1; enter_releasing(a)  /* as AppFaulted */
  fi
}
inline apps_stated(g, epoch0, epoch1, ending) {
  if
  :: adopted[g] ->
     adopted[g] = 0;
     for (v_x : 0 .. APPS - 1) {
       if :: v_x == 0 -> v_wanted = epoch0 :: else -> v_wanted = epoch1 fi;
       v_any = (v_wanted != 0 && epoch[v_x] == v_wanted);
       v_w = (v_any && (ending & (1 << v_x)) != 0);
       if
       :: place[v_x] == g && app[v_x] == ServingUnconfirmed -> resume_serving(v_x, v_any, v_w)
       :: place[v_x] == g && (app[v_x] == Resuming || app[v_x] == ResumingLeaving) -> resume_move(v_x, g, v_any, v_w)
       :: else
       fi
     }
  :: else
  fi
}

/* ---- what agents say; every handler drops what names another run, step or epoch (expect()) ---- */
#define EXPECT(step) (app[m_app] == step && place[m_app] == g && epoch[m_app] == m_epoch)
inline agent_says(g) {
  from_agent[g] ? m_kind, m_run, m_app, m_epoch, m_what;
  printf("daemon: agent %d (run %d) said %e, application %d epoch %d, %d\n", g, m_run, m_kind, m_app, m_epoch, m_what);
  if
  :: m_run != life[g]
  :: m_run == life[g] ->
     if
     :: m_kind == Hello -> agent_greeted(g)
     :: m_kind == Lost -> if :: guest[g] == Ready -> guest[g] = Suspect :: else fi
     :: m_kind == NeedStated && EXPECT(Sizing) -> need_stated(g, m_app, m_what)
     :: m_kind == AreasEngaged && EXPECT(Engaging) ->
        v_mask = 0;                           /* find_engage() in link/requests.cpp */
        for (v_z : 0 .. AREAS - 1) { if :: user[v_z] == m_app && within[v_z] == g -> v_mask = v_mask | (1 << v_z) :: else fi }
        if :: v_mask == m_what -> areas_engaged(g, m_app) :: else fi
     :: m_kind == EngageFailed && EXPECT(Engaging) -> condemn(g)
     :: m_kind == AppServing && EXPECT(Starting) -> app_serving(m_app)
     :: (m_kind == AppStartFailed || m_kind == AppFaulted) && EXPECT(Starting) -> enter_releasing(m_app)
     :: m_kind == AppFaulted && EXPECT(Serving) -> o_withdraw[m_app] = 1; enter_releasing(m_app)
     :: m_kind == AppStopped && EXPECT(Stopping) -> enter_releasing(m_app)
     :: m_kind == StopFailed && EXPECT(Stopping) -> condemn(g)
     :: m_kind == AreasReleased && EXPECT(Releasing) ->
        areas_released(g, m_app, (m_what & 7), (m_what & 8))
     :: m_kind == AppsStated -> apps_stated(g, m_app, m_epoch, m_what)
     :: else
     fi
  fi
}

/* ---- what monitors say ---- */
inline monitor_says(g) {
  from_monitor[g] ? m_kind, m_run, m_what;
  printf("daemon: monitor %d (run %d) said %e, area %d\n", g, m_run, m_kind, m_what);
  if
  :: m_run != life[g]
  :: m_run == life[g] ->
     if
     :: m_kind == AreaPlugged -> area_plugged(g, m_what)
     :: m_kind == PlugFailed && area[m_what] == a_plugging && within[m_what] == g -> leave(m_what); condemn(g)
     :: m_kind == AreaUnplugged -> area_unplugged(g, m_what)
     :: m_kind == UnplugFailed && area[m_what] == a_unplugging && within[m_what] == g -> condemn(g)
     :: else
     fi
  fi
}

/* ---- core/moves.cpp: advance(Application), a deadline has passed ---- */
inline deadline_passed(a) {
  if
  :: app[a] == Starting -> enter_stopping(a)
  :: else -> v_n = place[a]; condemn(v_n)
  fi
}

/* ================================================================ 3. the engine ======================== */

/* record() of guests and applications, Table::take_changes(); one line of the journal, valid as a whole */
inline journal() {
  for (v_z : 0 .. GUESTS - 1) {
    j_run[v_z] = life[v_z];
    if
    :: guest[v_z] == Off -> j_guest[v_z] = J_OFF
    :: guest[v_z] == Fencing -> j_guest[v_z] = J_FENCING
    :: guest[v_z] == Fenced || guest[v_z] == Discarding -> j_guest[v_z] = J_FENCED
    :: guest[v_z] == Adopting -> j_guest[v_z] = was[v_z]
    :: else -> j_guest[v_z] = J_UP
    fi
  }
  for (v_z : 0 .. APPS - 1) {
    j_in[v_z] = place[v_z];
    j_epoch[v_z] = epoch[v_z];
    if
    :: app[v_z] == Choosing -> j_app[v_z] = J_WAITING
    :: IS_SERVING(v_z) -> j_app[v_z] = J_SERVING
    :: app[v_z] == Stopping || app[v_z] == Releasing || app[v_z] == FencingApp || app[v_z] == ResumingLeaving ->
       j_app[v_z] = J_LEAVING
    :: else -> j_app[v_z] = J_MOVING
    fi
  }
  for (v_z : 0 .. AREAS - 1) { j_area[v_z] = area[v_z]; j_user[v_z] = user[v_z]; j_area_in[v_z] = within[v_z] }
}

/* To an agent; a guest that has ended, or one that the link does not reach, hears nothing. */
inline ask(g, kind, a, e, what) {
  if
  :: MAY_EXECUTE(g) && linked[g] -> assert(nfull(to_agent[g])); to_agent[g] ! kind, a, e, what
  :: else
  fi
}
inline end_process(g, how) {  /* GONE: the process ends and its memory is unmapped; STOPPED: the vCPUs are */
  vm[g] = how; silent[g] = 0; greets[g] = 0; held[g] = 0;
  do :: to_agent[g] ? _, _, _, _ :: empty(to_agent[g]) -> break od;
  for (v_n : 0 .. APPS - 1) { inside[AT(g, v_n)] = IDLE; inside_epoch[AT(g, v_n)] = 0; engaging[AT(g, v_n)] = 0; engaging_epoch[AT(g, v_n)] = 0 }
  for (v_n : 0 .. AREAS - 1) {
    if :: to_plug[v_n] == g + 1 -> to_plug[v_n] = 0 :: else fi;
    if :: to_unplug[v_n] == g + 1 -> to_unplug[v_n] = 0 :: else fi;
    if :: how == GONE -> area_in[IN(g, v_n)] = ABSENT; confirmed[IN(g, v_n)] = 0 :: else fi
  }
  v_n = 0
}

/* The daemon dies before the act number crash_at (0: before the journal is written) or after the last. */
#define ACT(wanted_, what_) if :: wanted_ && v_acts < crash_at -> what_; v_acts++ :: else fi
inline perform_acts() {
#ifndef NO_WITHDRAW           /* planted: whoever comes next will have the address */
  for (v_y : 0 .. APPS - 1) { ACT(o_withdraw[v_y], route_to[v_y] = NOWHERE) }
#endif
  for (v_y : 0 .. GUESTS - 1) { ACT(o_adopt[v_y], adopt_asked[v_y] = 1) }
  for (v_y : 0 .. GUESTS - 1) { ACT(o_fence[v_y], fence_asked[v_y] = 1) }
  for (v_y : 0 .. GUESTS - 1) { ACT(o_state[v_y], ask(v_y, State, 0, 0, 0)) }
  for (v_y : 0 .. APPS - 1) { ACT(o_stop[v_y], ask(place[v_y], Stop, v_y, epoch[v_y], 0)) }
  for (v_y : 0 .. APPS - 1) { ACT(o_release[v_y], act_release(v_y)) }
  for (v_y : 0 .. AREAS - 1) { ACT(o_unplug[v_y], act_unplug(v_y)) }
  for (v_y : 0 .. APPS - 1) { ACT(o_need[v_y], ask(place[v_y], Need, v_y, epoch[v_y], 0)) }
  for (v_y : 0 .. AREAS - 1) { ACT(o_plug[v_y], act_plug(v_y)) }
  for (v_y : 0 .. APPS - 1) { ACT(o_engage[v_y], ask(place[v_y], Engage, v_y, epoch[v_y], o_engage[v_y])) }
  for (v_y : 0 .. APPS - 1) { ACT(o_start[v_y], act_start(v_y)) }
  for (v_y : 0 .. APPS - 1) { ACT(o_route[v_y], act_route(v_y)) }
  for (v_y : 0 .. GUESTS - 1) { ACT(o_discard[v_y], act_discard(v_y)) }
  for (v_y : 0 .. GUESTS - 1) { ACT(o_launch[v_y], act_launch(v_y)) }
}
/* Promise 4 stands in these: the journal says it before it is asked of anybody. */
inline act_release(a) {
  for (v_z : 0 .. AREAS - 1) {
    assert(!(o_release[a] & (1 << v_z)) || (j_area[v_z] == a_releasing && j_area_in[v_z] == place[a]))
  }
  ask(place[a], Release, a, epoch[a], o_release[a])
}
inline act_unplug(r) {
  assert(j_area[r] == a_unplugging && j_area_in[r] == within[r]);
  if :: MAY_EXECUTE(within[r]) -> to_unplug[r] = within[r] + 1 :: else fi
}
inline act_plug(r) {
  assert(j_area[r] == a_plugging && j_area_in[r] == within[r]);
  if :: MAY_EXECUTE(within[r]) -> to_plug[r] = within[r] + 1 :: else fi
}
inline act_start(a) {
  assert(j_app[a] == J_MOVING && j_in[a] == place[a] && j_epoch[a] == epoch[a]);
  v_n = 0;
  for (v_z : 0 .. AREAS - 1) {  /* promise 5 */
    if
    :: user[v_z] == a && within[v_z] == place[a] ->
       v_n++;
       assert(!MAY_EXECUTE(place[a]) || confirmed[IN(place[a], v_z)]);
       assert(j_area[v_z] == a_engaged)
    :: else
    fi
  }
  assert(v_n >= LEAST);
  ask(place[a], Start, a, epoch[a], 0)
}
inline act_route(a) {
  assert(j_app[a] == J_SERVING && j_in[a] == place[a]);
  route_to[a] = place[a]
}
inline act_discard(g) {
  assert(j_guest[g] == J_FENCED && !MAY_EXECUTE(g));
  end_process(g, GONE)
}
inline act_launch(g) {
  assert(j_guest[g] == J_UP && j_run[g] == life[g] && vm[g] == GONE);
  vm[g] = BOOTING; vm_run[g] = life[g]; linked[g] = 1
}

inline forget() {  /* what a dead daemon does not know any more */
  printf("CRASH   of the daemon; journal %d, %d acts done\n", crash_at > 0, v_acts);
  up = 0;
  for (v_z : 0 .. GUESTS - 1) {
    guest[v_z] = 0; was[v_z] = 0; adopted[v_z] = 0; life[v_z] = 0; linked[v_z] = 0; fence_asked[v_z] = 0; adopt_asked[v_z] = 0;
    do :: from_agent[v_z] ? _, _, _, _, _ :: empty(from_agent[v_z]) -> break od;
    do :: from_monitor[v_z] ? _, _, _ :: empty(from_monitor[v_z]) -> break od
  }
  for (v_z : 0 .. APPS - 1) { app[v_z] = 0; place[v_z] = 0; epoch[v_z] = 0 }
  for (v_z : 0 .. AREAS - 1) { area[v_z] = 0; user[v_z] = 0; within[v_z] = 0 }
}
/* A line of a counterexample's replay, by the numbers of part 2. */
inline tell() {
  for (v_z : 0 .. GUESTS - 1) { printf("          guest %d: state %d run %d (vm %d)", v_z, guest[v_z], life[v_z], vm[v_z]) }
  for (v_z : 0 .. APPS - 1) { printf("; application %d: step %d in %d epoch %d", v_z, app[v_z], place[v_z], epoch[v_z]) }
  for (v_z : 0 .. AREAS - 1) { printf("; area %d: state %d of %d in %d", v_z, area[v_z], user[v_z], within[v_z]) }
  printf("\n")
}
/* Engine::perform() */
inline perform() {
  check_table();
  v_acts = 0;
#ifdef ACT_BEFORE_JOURNAL
  perform_acts();             /* planted */
  if :: crash_at == NEVER -> journal() :: else fi;
#else
  v_acts = 1;
  if :: crash_at > 0 -> journal(); perform_acts() :: else fi;
#endif
  assert(v_acts <= 5);        /* no step has more than four acts: choose_crash() knows a place before each */
  tell();
  if :: crash_at != NEVER -> forget() :: else fi;
  for (v_z : 0 .. APPS - 1) {
    o_withdraw[v_z] = 0; o_stop[v_z] = 0; o_release[v_z] = 0; o_need[v_z] = 0; o_engage[v_z] = 0; o_start[v_z] = 0; o_route[v_z] = 0
  }
  for (v_z : 0 .. GUESTS - 1) { o_adopt[v_z] = 0; o_fence[v_z] = 0; o_state[v_z] = 0; o_discard[v_z] = 0; o_launch[v_z] = 0 }
  for (v_z : 0 .. AREAS - 1) { o_unplug[v_z] = 0; o_plug[v_z] = 0 }
  crash_at = 0; v_acts = 0; v_x = 0; v_y = 0; v_z = 0; v_n = 0; v_mask = 0; v_wanted = 0; v_any = 0;
  m_kind = 0; m_run = 0; m_app = 0; m_epoch = 0; m_what = 0; v_w = 0
}
/* Core::step() and Engine::deliver(): chosen beforehand is only whether and where the daemon dies in it. */
inline choose_crash() {
  if
  :: crash_at = NEVER
  :: crashes > 0 -> crashes--; if :: crash_at = 0 :: crash_at = 1 :: crash_at = 2 :: crash_at = 3 :: crash_at = 4 :: crash_at = 9 fi
  fi
}
/* What was on its way to agents may be lost with the daemon's end of the channel. */
inline after_crash() {
  if
  :: up
  :: !up -> if :: true :: d_step { lose(0); lose(1); true } fi
  fi
}
inline lose(g) { do :: to_agent[g] ? _, _, _, _ :: empty(to_agent[g]) -> break od }

/* ================================================================ 4. processes ======================== */

#define CAN_GIVE(r, a) (area[r] == a_unused || (area[r] == a_held && user[r] == a))
#if AREAS == 1
#define AVAILABLE(a) (CAN_GIVE(0, a))
#define ALL_AREAS(what) (what(0))
#elif AREAS == 2
#define AVAILABLE(a) (CAN_GIVE(0, a) + CAN_GIVE(1, a))
#define ALL_AREAS(what) (what(0) && what(1))
#else
#define AVAILABLE(a) (CAN_GIVE(0, a) + CAN_GIVE(1, a) + CAN_GIVE(2, a))
#define ALL_AREAS(what) (what(0) && what(1) && what(2))
#endif
#if APPS == 1
#define ALL_APPS(what) (what(0))
#else
#define ALL_APPS(what) (what(0) && what(1))
#endif

/* Nothing more comes from this guest by itself: whoever waits for it waits for his deadline. */
#define NOT_BUSY_WITH(g, a) (engaging[AT(g, a)] == 0 && inside[AT(g, a)] != STARTS && inside[AT(g, a)] != STOPS)
#define NOT_ASKED(g, r) (to_plug[r] != g + 1 && to_unplug[r] != g + 1)
#if APPS == 1
#define NO_APP_BUSY(g) NOT_BUSY_WITH(g, 0)
#else
#define NO_APP_BUSY(g) (NOT_BUSY_WITH(g, 0) && NOT_BUSY_WITH(g, 1))
#endif
#if AREAS == 2
#define NO_AREA_ASKED(g) (NOT_ASKED(g, 0) && NOT_ASKED(g, 1))
#else
#define NO_AREA_ASKED(g) (NOT_ASKED(g, 0) && NOT_ASKED(g, 1) && NOT_ASKED(g, 2))
#endif
#define QUIET(g) (empty(from_monitor[g]) && empty(from_agent[g]) && ((vm[g] != UP && vm[g] != BOOTING) || silent[g] || \
   (vm[g] == UP && empty(to_agent[g]) && !greets[g] && NO_APP_BUSY(g) && NO_AREA_ASKED(g))))

#define WAITS(a) (app[a] == Sizing || app[a] == Plugging || app[a] == Engaging || app[a] == Starting || \
   app[a] == Stopping || app[a] == Releasing)

/* What the daemon is told next: event, and the guest or application that it is about. */
mtype = { AgentSays, MonitorSays, GuestPanicked, GuestExited, GuestFenced, GuestAdopted, NoProcess, NoBeat, AgentBeat,
          ProbeAnswer, BootLimit, ClearUp, GuestGone, ComeBack, Chosen, Deadline, Switchover, Resume };
mtype event;
byte e_guest, e_app;

#define HAS_OS(g) (guest[g] == Ready || guest[g] == Suspect || guest[g] == Coming)
#define EVENTS_OF(n) \
  :: up && linked[n] && nempty(from_agent[n]) -> event = AgentSays; e_guest = n \
  :: up && nempty(from_monitor[n]) -> event = MonitorSays; e_guest = n \
  :: up && HAS_OS(n) && vm[n] == PANICKED -> event = GuestPanicked; e_guest = n \
  :: up && (HAS_OS(n) || guest[n] == Fencing) && vm[n] == GONE -> event = GuestExited; e_guest = n \
  :: up && fence_asked[n] && vm[n] != GONE -> event = GuestFenced; e_guest = n; if :: MAY_BE_KEPT(n) -> m_what = STOPPED :: m_what = GONE fi \
  :: up && adopt_asked[n] && vm[n] != GONE -> event = GuestAdopted; e_guest = n \
  :: up && adopt_asked[n] && vm[n] == HUNG -> event = GuestAdopted; e_guest = n; m_what = 1 \
  :: up && adopt_asked[n] && (vm[n] == GONE || vm[n] == HUNG) -> event = NoProcess; e_guest = n \
  :: up && guest[n] == Ready && (silent[n] || vm[n] == HUNG || vm[n] == PANICKED || vm[n] == SUSPENDED) -> event = NoBeat; e_guest = n \
  :: up && guest[n] == Suspect && vm[n] == UP && !silent[n] -> event = AgentBeat; e_guest = n \
  :: up && guest[n] == Suspect && (vm[n] == HUNG || vm[n] == PANICKED || vm[n] == SUSPENDED || silent[n]) -> event = ProbeAnswer; e_guest = n \
  :: up && guest[n] == Coming && QUIET(n) -> event = BootLimit; e_guest = n \
  :: up && guest[n] == Coming && faults > 0 -> event = BootLimit; e_guest = n; faults-- \
  :: up && STATE_DUE(n) -> event = BootLimit; e_guest = n \
  :: up && guest[n] == Fenced -> event = ClearUp; e_guest = n \
  :: up && guest[n] == Discarding && vm[n] == GONE -> event = GuestGone; e_guest = n \
  :: up && guest[n] == Off -> event = ComeBack; e_guest = n

/* RunStatus::only_a_command_ends_it(): what wakes by itself is not kept, but ended. */
#ifdef ACCEPT_SUSPENDED
#define MAY_BE_KEPT(n) true                  /* planted: it does not run, that will do */
#else
#define MAY_BE_KEPT(n) (vm[n] != SUSPENDED)
#endif
#if defined(HOLD_BY_STATE)
#define HOLDS BY_STATE                       /* planted: QEMU's word is enough */
#elif defined(HOLD_BY_SIGNAL)
#define HOLDS BY_SIGNAL                      /* planted: SIGSTOP is enough */
#else
#define HOLDS (BY_STATE | BY_SIGNAL)
#endif

/* Guests are alike and so are applications: that application 0 is placed first, and first on guest 0, loses nothing. */
#ifdef NO_STATE_LIMIT
#define STATE_DUE(n) false                   /* planted: whoever does not say what runs in it is waited for */
#else
#define STATE_DUE(n) (guest[n] == Ready && adopted[n] && QUIET(n))
#endif
#define MAY_CHOOSE(n, m) (app[n] == Choosing && guest[m] == Ready && AVAILABLE(n) >= LEAST && \
   (epoch[0] > 0 || (n == 0 && m == 0)))
#define EVENTS_OF_APP(n) \
  :: up && MAY_CHOOSE(n, 0) -> event = Chosen; e_app = n; e_guest = 0 \
  :: up && MAY_CHOOSE(n, 1) -> event = Chosen; e_app = n; e_guest = 1 \
  :: up && WAITS(n) && ((place[n] == 0 && QUIET(0)) || (place[n] == 1 && QUIET(1))) -> event = Deadline; e_app = n \
  :: up && WAITS(n) && faults > 0 -> event = Deadline; e_app = n; faults-- \
  :: up && IS_SERVING(n) && faults > 0 -> event = Switchover; e_app = n; faults--

/* QemuHypervisor::fence() and its answer, GuestFenced: the vCPUs are stopped and held, or the process is ended. */
inline fenced(how) {
  fence_asked[e_guest] = 0;
#ifdef ACCEPT_SUSPENDED
  if
  :: vm[e_guest] == SUSPENDED && how == STOPPED -> held[e_guest] = BY_STATE   /* as it believes */
  :: else -> end_process(e_guest, how); held[e_guest] = HOLDS
  fi;
#else
  if :: vm[e_guest] != STOPPED || how == GONE -> end_process(e_guest, how); if :: how == STOPPED -> held[e_guest] = HOLDS :: else fi :: else fi;
#endif
  if :: guest[e_guest] == Fencing -> stopped(e_guest) :: else fi
}
/* QemuRun::adopt(): what the former daemon asked of the monitor was done by now, or never will be. */
inline found_process() {
  adopt_asked[e_guest] = 0;
  v_wanted = 0;
  for (v_z : 0 .. AREAS - 1) {
    if :: to_plug[v_z] == e_guest + 1 -> to_plug[v_z] = 0 :: else fi;
    if :: to_unplug[v_z] == e_guest + 1 -> to_unplug[v_z] = 0 :: else fi;
    if :: area_in[IN(e_guest, v_z)] != ABSENT -> v_wanted = v_wanted | (1 << v_z) :: else fi
  }
  linked[e_guest] = 1;
  if :: vm[e_guest] == UP || vm[e_guest] == HUNG -> greets[e_guest] = 1 :: else fi;
  if :: m_what -> v_wanted = 0 :: else fi;    /* a monitor that does not answer: nothing is known but that it lives */
  guest_adopted(e_guest, (m_what == 0 && (vm[e_guest] == UP || vm[e_guest] == BOOTING || vm[e_guest] == HUNG)), v_wanted)
}
/* Core::step() */
inline step() {
  if
  :: event == AgentSays || event == MonitorSays
  :: else -> printf("daemon: %e guest %d application %d\n", event, e_guest, e_app)
  fi;
  if
  :: event == AgentSays -> agent_says(e_guest)
  :: event == MonitorSays -> monitor_says(e_guest)
  :: event == GuestPanicked || event == ProbeAnswer || event == BootLimit -> condemn(e_guest)
  :: event == GuestExited || event == NoProcess ->
     if :: event == NoProcess && vm[e_guest] != GONE -> end_process(e_guest, GONE) :: else fi;
     adopt_asked[e_guest] = 0; fence_asked[e_guest] = 0; guest_exited(e_guest)
  :: event == GuestFenced -> fenced(m_what)
  :: event == GuestAdopted -> found_process()
  :: event == NoBeat -> guest[e_guest] = Suspect               /* suspect() */
  :: event == AgentBeat -> guest[e_guest] = Ready                   /* heard() */
  :: event == ClearUp -> guest[e_guest] = Discarding; o_discard[e_guest] = 1
  :: event == GuestGone -> launch(e_guest)                 /* Off, and advance() */
  :: event == ComeBack -> launch(e_guest)
  :: event == Chosen -> epoch[e_app]++; enter_sizing(e_app, e_guest)   /* advance_choosing() */
  :: event == Deadline -> deadline_passed(e_app)
  :: event == Switchover -> o_withdraw[e_app] = 1; enter_stopping(e_app)
  :: event == Resume -> up = 1; restore(); resume()
  fi;
  for (v_n : 0 .. APPS - 1) { if :: v_leaves[v_n] -> v_leaves[v_n] = 0; v_y = v_n; do_enter_releasing(v_y); v_n = v_y :: else fi };
  if :: v_condemned -> v_condemned--; do_condemn(v_condemned); v_condemned = 0 :: else fi;
  if :: v_stopped -> v_stopped--; do_stopped(v_stopped); v_stopped = 0 :: else fi
#ifdef SKIP_FENCE
  ;                            /* planted: it failed, so it will not run any more */
  if
  :: guest[0] == Fencing -> do_stopped(0)
  :: guest[0] != Fencing && guest[1] == Fencing -> do_stopped(1)
  :: else
  fi
#endif
}

proctype Daemon() {
end:
  do
  :: atomic {
       if
       EVENTS_OF(0)
       EVENTS_OF(1)
       EVENTS_OF_APP(0)
#if APPS == 2
       EVENTS_OF_APP(1)
#endif
       :: !up -> event = Resume
       fi;
       choose_crash();
       d_step { step(); perform(); event = 0; e_guest = 0; e_app = 0 };
       after_crash()
     }
  od
}

/* To the daemon: dropped unless its connection is greeted. */
inline say(g, kind, a, e, what) {
  if
  :: linked[g] && !greets[g] -> from_agent[g] ! kind, vm_run[g], a, e, what
  :: else
  fi
}
inline standing_words(g) {
  for (v_i : 0 .. APPS - 1) {
    if
    :: inside[AT(g, v_i)] == SERVES -> from_agent[g] ! AppServing, vm_run[g], v_i, inside_epoch[AT(g, v_i)], 0
    :: inside[AT(g, v_i)] == ENDED -> from_agent[g] ! AppFaulted, vm_run[g], v_i, inside_epoch[AT(g, v_i)], 0
    :: inside[AT(g, v_i)] == NOT_STARTED -> from_agent[g] ! AppStartFailed, vm_run[g], v_i, inside_epoch[AT(g, v_i)], 0
    :: else
    fi
  }
}
inline all_online(g, a) {
  v_yes = 1;
  for (v_i : 0 .. AREAS - 1) {
    if :: (engaging[AT(g, a)] & (1 << v_i)) && area_in[IN(g, v_i)] != ONLINE -> v_yes = 0 :: else fi
  }
}
inline settle(g, a) {        /* Engager::settle() */
  for (v_i : 0 .. AREAS - 1) { if :: engaging[AT(g, a)] & (1 << v_i) -> confirmed[IN(g, v_i)] = 1 :: else fi };
  say(g, AreasEngaged, a, engaging_epoch[AT(g, a)], engaging[AT(g, a)]);
  engaging[AT(g, a)] = 0; engaging_epoch[AT(g, a)] = 0
}

/* src/agent/: what an agent does when it is asked */
inline agent_answers(g) {
  to_agent[g] ? v_kind, v_a, v_e, v_what;
  printf("        agent %d is asked %e, application %d epoch %d, %d\n", g, v_kind, v_a, v_e, v_what);
  if
  :: v_kind == Need ->
     v_w = NEED;
     for (v_i : 0 .. AREAS - 1) { if :: j_user[v_i] == v_a && area_in[IN(g, v_i)] == ONLINE && v_w > 0 -> v_w-- :: else fi };
     say(g, NeedStated, v_a, v_e, v_w)
  :: v_kind == Engage ->
     if
     :: engaging[AT(g, v_a)] != 0 && (engaging[AT(g, v_a)] != v_what || engaging_epoch[AT(g, v_a)] != v_e) ->
        all_online(g, v_a); if :: v_yes -> settle(g, v_a) :: else fi
     :: else
     fi;
     engaging[AT(g, v_a)] = v_what; engaging_epoch[AT(g, v_a)] = v_e
  :: v_kind == Start && v_e < inside_epoch[AT(g, v_a)] -> say(g, AppStartFailed, v_a, v_e, 0)
  :: v_kind == Start && v_e == inside_epoch[AT(g, v_a)] ->   /* start_again() */
     if
     :: inside[AT(g, v_a)] == IDLE || inside[AT(g, v_a)] == STOPS || inside[AT(g, v_a)] == NOT_STARTED ->
        say(g, AppStartFailed, v_a, v_e, 0)
     :: inside[AT(g, v_a)] == SERVES -> say(g, AppServing, v_a, v_e, 0)
     :: inside[AT(g, v_a)] == ENDED -> say(g, AppFaulted, v_a, v_e, 0)
     :: inside[AT(g, v_a)] == STARTS
     fi
  :: v_kind == Start && v_e > inside_epoch[AT(g, v_a)] ->
     inside_epoch[AT(g, v_a)] = v_e;
     inside[AT(g, v_a)] = STARTS;
     assert(!RUNS(1 - g, v_a))                           /* promise 2 */
  :: v_kind == Stop && v_e < inside_epoch[AT(g, v_a)] -> say(g, AppStopped, v_a, v_e, 0)
  :: v_kind == Stop && v_e >= inside_epoch[AT(g, v_a)] ->
     inside_epoch[AT(g, v_a)] = v_e;
     if
     :: EXECUTES(g, v_a) -> inside[AT(g, v_a)] = STOPS   /* the answer will come */
     :: else -> inside[AT(g, v_a)] = IDLE; say(g, AppStopped, v_a, v_e, 0)
     fi
  :: v_kind == Release && RUNS(g, v_a) -> say(g, AreasReleased, v_a, v_e, 8)
  :: v_kind == Release && !RUNS(g, v_a) ->
     for (v_i : 0 .. AREAS - 1) {
       if
       :: (v_what & (1 << v_i)) && area_in[IN(g, v_i)] != ABSENT -> area_in[IN(g, v_i)] = OFFLINE; confirmed[IN(g, v_i)] = 0
       :: else
       fi
     }
     say(g, AreasReleased, v_a, v_e, v_what)
  :: v_kind == State ->
     v_a = 0; v_e = 0; v_what = 0;
     if :: EXECUTES(g, 0) -> v_a = inside_epoch[AT(g, 0)]; if :: inside[AT(g, 0)] == STOPS -> v_what = 1 :: else fi :: else fi;
#if APPS == 2
     if :: EXECUTES(g, 1) -> v_e = inside_epoch[AT(g, 1)]; if :: inside[AT(g, 1)] == STOPS -> v_what = v_what | 2 :: else fi :: else fi;
#endif
     say(g, AppsStated, v_a, v_e, v_what)
  fi
}
/* A request that goes wrong: the guest says so (stop, release: nothing done), or nobody says anything (lost). */
inline agent_fails(g) {
  to_agent[g] ? v_kind, v_a, v_e, v_what;
  printf("FAULT   agent %d fails at %e, application %d epoch %d\n", g, v_kind, v_a, v_e);
  if
  :: v_kind == Stop -> say(g, StopFailed, v_a, v_e, 0)
  :: v_kind == Release -> say(g, AreasReleased, v_a, v_e, 8)
  :: v_kind == Start && v_e > inside_epoch[AT(g, v_a)] ->
     inside_epoch[AT(g, v_a)] = v_e; inside[AT(g, v_a)] = NOT_STARTED; say(g, AppStartFailed, v_a, v_e, 0)
  :: else
  fi
}
#define DONE v_kind = 0; v_a = 0; v_e = 0; v_what = 0; v_w = 0; v_i = 0; v_yes = 0
#define ROOM(g) (len(from_agent[g]) <= 2)

#define APP_IN(g, n) \
  :: d_step { vm[g] == UP && !silent[g] && engaging[AT(g, n)] != 0 && ROOM(g) && ENGAGE_ONLINE(g, n) -> settle(g, n); DONE } \
  :: d_step { vm[g] == UP && !silent[g] && engaging[AT(g, n)] != 0 && ROOM(g) && (faults > 0 || ENGAGE_ABSENT(g, n)) -> \
     if :: !ENGAGE_ABSENT(g, n) -> faults-- :: else fi; \
     say(g, EngageFailed, n, engaging_epoch[AT(g, n)], 0); engaging[AT(g, n)] = 0; engaging_epoch[AT(g, n)] = 0; DONE } \
  :: d_step { vm[g] == UP && !silent[g] && inside[AT(g, n)] == STARTS && ROOM(g) -> \
     inside[AT(g, n)] = SERVES; say(g, AppServing, n, inside_epoch[AT(g, n)], 0); DONE } \
  :: d_step { vm[g] == UP && !silent[g] && inside[AT(g, n)] == STOPS && ROOM(g) -> \
     inside[AT(g, n)] = IDLE; say(g, AppStopped, n, inside_epoch[AT(g, n)], 0); DONE } \
  :: d_step { vm[g] == UP && !silent[g] && inside[AT(g, n)] == STARTS && ROOM(g) && faults > 0 -> faults--; \
     inside[AT(g, n)] = NOT_STARTED; say(g, AppStartFailed, n, inside_epoch[AT(g, n)], 0); DONE } \
  :: d_step { vm[g] == UP && !silent[g] && inside[AT(g, n)] == SERVES && ROOM(g) && faults > 0 -> faults--; \
     inside[AT(g, n)] = ENDED; say(g, AppFaulted, n, inside_epoch[AT(g, n)], 0); DONE }
#define WAITED_FOR(g, n, r) (engaging[AT(g, n)] & (1 << r))
#define THERE(g, n, r) (!WAITED_FOR(g, n, r) || area_in[IN(g, r)] == ONLINE)
#define NOT_ABSENT(g, n, r) (!WAITED_FOR(g, n, r) || area_in[IN(g, r)] != ABSENT)
#if AREAS == 2
#define ENGAGE_ONLINE(g, n) (THERE(g, n, 0) && THERE(g, n, 1))
#define ENGAGE_ABSENT(g, n) (!(NOT_ABSENT(g, n, 0) && NOT_ABSENT(g, n, 1)))
#else
#define ENGAGE_ONLINE(g, n) (THERE(g, n, 0) && THERE(g, n, 1) && THERE(g, n, 2))
#define ENGAGE_ABSENT(g, n) (!(NOT_ABSENT(g, n, 0) && NOT_ABSENT(g, n, 1) && NOT_ABSENT(g, n, 2)))
#endif
#if APPS == 1
#define ANY_WAITS_FOR(g, r) WAITED_FOR(g, 0, r)
#else
#define ANY_WAITS_FOR(g, r) (WAITED_FOR(g, 0, r) || WAITED_FOR(g, 1, r))
#endif

#define AREA_IN(g, r) \
  :: d_step { vm[g] == UP && (area_in[IN(g, r)] == MAPPED || (area_in[IN(g, r)] == OFFLINE && !silent[g] && ANY_WAITS_FOR(g, r))) -> \
     area_in[IN(g, r)] = ONLINE }                      /* the kernel by itself, or asked by its agent */ \
  :: d_step { to_plug[r] == g + 1 && vm[g] == UP && nfull(from_monitor[g]) -> to_plug[r] = 0; \
     assert(!USES(1 - g, r));                          /* promise 3 */ \
     area_in[IN(g, r)] = MAPPED; confirmed[IN(g, r)] = 0; \
     if :: up && linked[g] -> from_monitor[g] ! AreaPlugged, vm_run[g], r :: else fi; true } \
  :: d_step { to_plug[r] == g + 1 && vm[g] == UP && nfull(from_monitor[g]) && faults > 0 -> faults--; to_plug[r] = 0; \
     if :: up && linked[g] -> from_monitor[g] ! PlugFailed, vm_run[g], r :: else fi; true } \
  :: d_step { to_unplug[r] == g + 1 && vm[g] == UP && area_in[IN(g, r)] != ONLINE && area_in[IN(g, r)] != ABSENT && nfull(from_monitor[g]) -> \
     to_unplug[r] = 0; area_in[IN(g, r)] = ABSENT; confirmed[IN(g, r)] = 0; \
     if :: up && linked[g] -> from_monitor[g] ! AreaUnplugged, vm_run[g], r :: else fi; true } \
  :: d_step { to_unplug[r] == g + 1 && nfull(from_monitor[g]) && (vm[g] != UP || area_in[IN(g, r)] == ONLINE || area_in[IN(g, r)] == ABSENT || faults > 0) -> \
     if :: vm[g] == UP && area_in[IN(g, r)] != ONLINE && area_in[IN(g, r)] != ABSENT -> faults-- :: else fi; to_unplug[r] = 0; \
     if :: up && linked[g] -> from_monitor[g] ! UnplugFailed, vm_run[g], r :: else fi; true }

proctype Guest(byte g) {
end:
  do
  :: d_step { vm[g] == BOOTING && len(from_agent[g]) <= 3 -> vm[g] = UP;
     if :: linked[g] -> from_agent[g] ! Hello, vm_run[g], 0, 0, 0 :: else -> greets[g] = 1 fi; true }
  :: d_step { vm[g] == UP && !silent[g] && linked[g] && greets[g] && len(from_agent[g]) <= 1 ->
     greets[g] = 0; from_agent[g] ! Hello, vm_run[g], 0, 0, 0; standing_words(g); DONE }
  :: d_step { vm[g] == UP && !silent[g] && nempty(to_agent[g]) && ROOM(g) -> agent_answers(g); DONE }
  :: d_step { vm[g] == UP && !silent[g] && nempty(to_agent[g]) && ROOM(g) && faults > 0 -> faults--; agent_fails(g); DONE }
  APP_IN(g, 0)
#if APPS == 2
  APP_IN(g, 1)
#endif
  AREA_IN(g, 0)
  AREA_IN(g, 1)
#if AREAS == 3
  AREA_IN(g, 2)
#endif
  /* ---- what ends by itself ---- */
  :: d_step { vm[g] == HUNG || vm[g] == SUSPENDED -> vm[g] = UP }
  :: d_step { silent[g] -> silent[g] = 0 }
  /* ---- faults ---- */
  :: d_step { faults > 0 && vm[g] == UP -> faults--; vm[g] = PANICKED; printf("FAULT   guest %d panics\n", g) }
  :: d_step { faults > 0 && vm[g] == UP -> faults--; vm[g] = SUSPENDED; printf("FAULT   guest %d suspends itself\n", g) }
  :: d_step { faults > 0 && !hold_failed && vm[g] == STOPPED && (held[g] & BY_STATE) -> faults--; hold_failed = 1;
     held[g] = held[g] & BY_SIGNAL; printf("FAULT   guest %d is let go on by its monitor\n", g) }
  :: d_step { faults > 0 && !hold_failed && vm[g] == STOPPED && (held[g] & BY_SIGNAL) -> faults--; hold_failed = 1;
     held[g] = held[g] & BY_STATE; printf("FAULT   QEMU %d gets SIGCONT\n", g) }
  :: d_step { faults > 0 && (vm[g] == UP || vm[g] == BOOTING) -> faults--; vm[g] = HUNG; printf("FAULT   guest %d hangs\n", g) }
  :: d_step { faults > 0 && vm[g] != GONE -> faults--; end_process(g, GONE); printf("FAULT   QEMU %d dies\n", g) }
  :: d_step { faults > 0 && vm[g] == UP && !silent[g] -> faults--; silent[g] = 1; printf("FAULT   agent %d falls silent\n", g) }
  :: d_step { faults > 0 && vm[g] == UP && !silent[g] && linked[g] && !greets[g] && empty(from_agent[g]) -> faults--;
     printf("FAULT   channel of agent %d is lost\n", g);
     from_agent[g] ! Lost, vm_run[g], 0, 0, 0; from_agent[g] ! Hello, vm_run[g], 0, 0, 0; standing_words(g); DONE }
  od
}

/* ---- everything is well: what a judge and the liveness property ask for ---- */
#define GUEST_WELL(g) (guest[g] == Ready && vm[g] == UP && !silent[g] && life[g] == vm_run[g])
#define APP_WELL(a) (app[a] == Serving && place[a] < GUESTS && route_to[a] == place[a] && \
   inside[AT(place[a], a)] == SERVES && inside_epoch[AT(place[a], a)] == epoch[a])
#define AREA_WELL(r) (area[r] == a_unused || (area[r] == a_engaged && app[user[r]] == Serving && \
   within[r] == place[user[r]] && area_in[IN(within[r], r)] == ONLINE))
#define ALL_WELL (up && GUEST_WELL(0) && GUEST_WELL(1) && ALL_APPS(APP_WELL) && ALL_AREAS(AREA_WELL))

/* Nothing can happen any more: then everything must be well. */
proctype Judge() {
  timeout -> assert(ALL_WELL)
}

/* Application a, with area a (one application: with NEED areas), serves on guest g. */
inline begin_serving(a, g) {
  app[a] = Serving; place[a] = g; epoch[a] = 1; route_to[a] = g;
  inside[AT(g, a)] = SERVES; inside_epoch[AT(g, a)] = 1;
  for (v_z : a * NEED .. (a + 1) * NEED - 1) {
    area[v_z] = a_engaged; user[v_z] = a; within[v_z] = g; area_in[IN(g, v_z)] = ONLINE; confirmed[IN(g, v_z)] = 1
  }
}

init {
  d_step {
    for (v_z : 0 .. GUESTS - 1) { vm[v_z] = UP; vm_run[v_z] = 1; life[v_z] = 1; guest[v_z] = Ready; linked[v_z] = 1 }
    for (v_z : 0 .. APPS - 1) { app[v_z] = Choosing; place[v_z] = NOWHERE; route_to[v_z] = NOWHERE }
    for (v_z : 0 .. AREAS - 1) { area[v_z] = a_unused; user[v_z] = NOBODY; within[v_z] = NOWHERE }
#ifdef BEGIN_SERVING
    begin_serving(0, 0);
#if APPS == 2
    begin_serving(1, BEGIN_SERVING);
#endif
#endif
    journal();
    v_z = 0
  }
#ifdef BEGIN_SERVING
  atomic { if :: true :: crashes > 0 -> crashes--; d_step { forget(); v_z = 0 } fi };  /* of an idle daemon */
#endif
  atomic { run Daemon(); run Guest(0); run Guest(1); run Judge() }
}

/* ---- promises over the truth, at every moment ---- */
#define AREA_EXCLUSIVE(r) (!(USES(0, r) && USES(1, r)))
#define APP_EXCLUSIVE(a) (!(RUNS(0, a) && RUNS(1, a)))
/* Whatever really is in a guest that may execute stands in the journal as being there. */
#define AREA_KNOWN(r) ((!USES(0, r) || j_area_in[r] == 0) && (!USES(1, r) || j_area_in[r] == 1))
/* The address leads nowhere, or to the guest that has the application; not to one while it is in the other. */
#define ADDRESS_RIGHT(a) (route_to[a] == NOWHERE || !RUNS(1 - route_to[a], a))
ltl promises { [] (ALL_AREAS(AREA_EXCLUSIVE) && ALL_APPS(APP_EXCLUSIVE) && ALL_AREAS(AREA_KNOWN) && ALL_APPS(ADDRESS_RIGHT)) }
ltl areas_exclusive { [] ALL_AREAS(AREA_EXCLUSIVE) }
ltl applications_exclusive { [] ALL_APPS(APP_EXCLUSIVE) }
ltl areas_known { [] ALL_AREAS(AREA_KNOWN) }
ltl address_right { [] ALL_APPS(ADDRESS_RIGHT) }
/* ---- that the model does anything: expected to be violated. After a takeover the failed guest is back, small. ---- */
ltl never_taken_over { [] !(life[0] == 2 && GUEST_WELL(0) && place[0] == 1 && APP_WELL(0)) }
/* ---- and in the end ---- */
ltl recovers { <>[] ALL_WELL }
