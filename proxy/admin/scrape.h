// scrape.h: one answer to a scraper: families of numbers in the order in which they were added, as Prometheus' text.
//
// Names get the prefix "sidestream_" and must end in _total for counters; the tests run promtool over the whole.
#pragma once

#include <prometheus/metric_family.h>

#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/latency.h"

namespace sidestream::admin {

using Labels = std::map<std::string, std::string>;

class Scrape {
 public:
  template <class Number>
  void gauge(const std::string& name, const std::string& help, Number value, const Labels& labels = {}) {
    add("sidestream_" + name, help, prometheus::MetricType::Gauge, labels).gauge.value = static_cast<double>(value);
  }
  template <class Number>
  void counter(const std::string& name, const std::string& help, Number value, const Labels& labels = {}) {
    add("sidestream_" + name, help, prometheus::MetricType::Counter, labels).counter.value = static_cast<double>(value);
  }
  /// In seconds, from 64 us to 16 s by octaves.
  void histogram(const std::string& name, const std::string& help, const Latency& took, const Labels& labels = {});
  /// About the process, under the names that every exporter uses.
  void process_gauge(const std::string& name, const std::string& help, double value);
  void process_counter(const std::string& name, const std::string& help, double value);
  std::string text() const;

 private:
  prometheus::ClientMetric& add(const std::string& name, const std::string& help, prometheus::MetricType type,
                                const Labels& labels);

  std::vector<prometheus::MetricFamily> families_;
  std::unordered_map<std::string, size_t> places_;  // of families, by name
};

}  // namespace sidestream::admin
