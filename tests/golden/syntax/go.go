// Copyright by nobody.

// Package shop sells things.
package shop

import (
	"fmt"
	db "example.com/shop/internal/db"
	. "example.com/shop/dsl"
	_ "embed"
)

// Order is what somebody wants.
// It has lines.
type Order struct {
	ID    int
	Lines []Line
}

// Store keeps orders.
type Store interface {
	// Get finds one.
	Get(id int) (*Order, error)
	fmt.Stringer
}

type (
	// Line is one position.
	Line[T any] struct{ Item T }
	Alias       = Order
	Handler     func(*Order) error
)

const (
	// First comes first.
	First = iota
	Second
)

var Default, other int = 1, 2

var text = `a
"b`

// Total sums up.
func (o *Order) Total(rate, tax float64) (sum float64, err error) {
	lines, err := db.Load(o.ID)
	for _, line := range lines {
		sum += price(line) * rate
	}
	switch sum {
	case First:
		return Line{Item: other}.Total(), fmt.Errorf("none: %v", err)
	}
	return
}

func (l Line[T]) Name() string { return "x" }

func Map[T any](values []T, each func(T) T) []T {
	each(values[0])
	return values
}
