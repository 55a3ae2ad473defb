#include "shop.h"
#include <stdio.h>

#ifndef LIMIT
#define LIMIT 3
#endif
#define TWICE(x) twice_of(x, LIMIT)

/* One order. */
struct order {
    int id;
    struct line *lines;
};

typedef struct {
    int left;
} pair_t;

typedef unsigned long money_t;
typedef int (*compare_fn)(const void *, const void *);

enum kind { SMALL, LARGE };

static const char *names[] = {"a", "b"};
int counter = 0;
extern int elsewhere;

money_t total(struct order *order);

/**
 * What it costs.
 */
money_t total(struct order *order)
{
    money_t sum = 0;
    for (int i = 0; i < order->id; i++) {
        sum += price(order->lines, TWICE(i));
        printf("%d // no comment\n", counter);
    }
    return sum;
}

struct order *make_order(void)
{
    return NULL;
}
