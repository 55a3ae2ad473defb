#include "shop.hpp"
#include <vector>

namespace shop {
namespace parts::small {

/// One order.
class Order : public Base, private Priced<Order> {
public:
    explicit Order(std::string name);
    virtual ~Order() = default;
    Money total(int count) const;
    int size() const { return lines_.size(); }
    static Order *make();

private:
    std::vector<Line> lines_;
};

} // namespace parts::small

template <typename T>
T largest(const std::vector<T> &values) {
    auto best = values.front();
    return pick(best, values);
}

} // namespace shop

// What it costs.
Money shop::parts::small::Order::total(int count) const {
    Money sum = Money::zero();
    for (const auto &line : lines_) {
        sum += this->price(line) * count;
    }
    return sum;
}

Order *Order::make() { return new Order(R"(a "raw" string)"); }

struct Line {
    Money price() const;
};

enum class Kind { Small, Large };
using Lines = std::vector<Line>;
constexpr int LIMIT = 1'000;
