// Plans by key, up to a bound: the least recently used that nobody holds goes first.
#pragma once

#include <cstddef>
#include <list>
#include <map>
#include <memory>
#include <utility>

namespace twofour::cuda {

// Not thread-safe.
template <class Key, class Plan>
class RecentPlans {
 public:
  size_t size() const { return recent_.size(); }

  // Null if there is none.
  std::shared_ptr<const Plan> find(const Key& key) {
    const auto found = index_.find(key);
    if (found == index_.end()) return nullptr;
    recent_.splice(recent_.begin(), recent_, found->second);
    return found->second->second;
  }

  // `key` is not there yet. Plans that somebody holds may exceed the bound.
  void insert(const Key& key, std::shared_ptr<const Plan> plan, size_t bound) {
    for (auto entry = recent_.end(); entry != recent_.begin() && recent_.size() >= bound;) {
      if ((--entry)->second.use_count() > 1) continue;
      index_.erase(entry->first);
      entry = recent_.erase(entry);
    }
    recent_.emplace_front(key, std::move(plan));
    index_.emplace(key, recent_.begin());
  }

 private:
  using Entry = std::pair<Key, std::shared_ptr<const Plan>>;

  std::list<Entry> recent_;  // most recently used first
  std::map<Key, typename std::list<Entry>::iterator> index_;
};

}  // namespace twofour::cuda
