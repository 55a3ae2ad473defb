package com.example.shop;

import com.example.price.Money;
import static com.example.price.Rates.rate;
import com.example.log.*;

/**
 * One order.
 */
@Entity(name = "orders")
public class Order<T> extends Base<T> implements Priced, Comparable<Order<T>> {
    private static final int LIMIT = 3;
    private List<Line> lines = new ArrayList<>();

    public Order(String name) {
        super(name);
    }

    /** What it costs. */
    @Override
    public Money total(int count, Currency currency) throws PriceException {
        Money sum = Money.zero(currency);
        for (Line line : lines) {
            sum = sum.plus(line.price().times(rate(count)));
        }
        return sum;
    }

    static class Line {
        Money price() {
            return new Money("""
                text with "quotes" in it
                """);
        }
    }
}

interface Priced {
    Money total(int count, Currency currency);
    int MOST = 9;
}

enum Kind {
    SMALL, LARGE;

    boolean big() {
        return this == LARGE;
    }
}

record Pair(int left, int right) {
}
