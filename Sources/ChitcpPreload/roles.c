/* A cache of what chisockets are for. An entry is one word, a hash of the identity and the role: nothing to lock, and
 * what is not in it is asked of the daemon. */
#include "preload.h"
#include <stdatomic.h>

#define ROLES 4096

static _Atomic uint64_t roles[ROLES];

static uint64_t hash(const struct identity *identity)
{
    uint64_t h = (identity->daemon ^ identity->socket * 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u;
    h = (h ^ h >> 31) * 0x94d049bb133111ebu;
    /* Two bits are the role's. */
    return (h ^ h >> 29) << 2;
}

enum role known_role(const struct identity *identity)
{
    uint64_t h = hash(identity);
    uint64_t entry = atomic_load_explicit(&roles[identity->socket % ROLES], memory_order_relaxed);
    return (entry & ~(uint64_t) 3) == h ? (enum role) (entry & 3) : ROLE_UNKNOWN;
}

void note_role(const struct identity *identity, enum role role)
{
    atomic_store_explicit(&roles[identity->socket % ROLES], hash(identity) | role, memory_order_relaxed);
}
