/* The timers of a TCP connection in one thread: sets three, lets one repeat, cancels one, and logs what happens. Needs no
 * daemon. */
#include <chitcp/multitimer.h>

#include <unistd.h>

enum { RETRANSMISSION, PERSIST, DELAYED_ACK, TIME_WAIT_TIMER, TIMERS };

static void expired(multi_timer_t *timers, single_timer_t *timer, void *args)
{
    (void) args;
    chilog(INFO, "%s expired, for the %d. time; active now:", timer->name, (int) timer->num_timeouts);
    /* A retransmission that is not acknowledged is followed by another, after twice the time (RFC 6298 5.5). */
    if (timer->id == RETRANSMISSION && timer->num_timeouts < 3)
        mt_set_timer(timers, timer->id, (100 * MILLISECOND) << timer->num_timeouts, expired, NULL);
    mt_chilog(INFO, timers, true);
}

int main(void)
{
    multi_timer_t timers;
    chitcp_setloglevel(INFO);
    if (mt_init(&timers, TIMERS) != CHITCP_OK) return 1;
    mt_set_timer_name(&timers, RETRANSMISSION, "retransmission");
    mt_set_timer_name(&timers, PERSIST, "persist");
    mt_set_timer_name(&timers, DELAYED_ACK, "delayed ACK");
    mt_set_timer_name(&timers, TIME_WAIT_TIMER, "2 MSL");
    mt_set_timer(&timers, RETRANSMISSION, 100 * MILLISECOND, expired, NULL);
    mt_set_timer(&timers, PERSIST, 5 * SECOND, expired, NULL);
    mt_set_timer(&timers, DELAYED_ACK, 40 * MILLISECOND, expired, NULL);
    chilog(INFO, "all timers:");
    mt_chilog(INFO, &timers, false);
    sleep(1);
    /* The window has opened. */
    mt_cancel_timer(&timers, PERSIST);
    chilog(INFO, "the persist timer is cancelled; all timers:");
    mt_chilog(INFO, &timers, false);
    mt_free(&timers);
    return 0;
}
