// scrape.cc: prometheus-cpp's plain structs and its serializer; its registry is not used, since nothing lives longer
// than one scrape.
#include "proxy/admin/scrape.h"

#include <prometheus/text_serializer.h>

#include <limits>

namespace sidestream::admin {
namespace {

constexpr uint64_t kFirstUs = 64;
constexpr uint64_t kLastUs = uint64_t{1} << 24;

double seconds(uint64_t us) { return static_cast<double>(us) / 1e6; }

}  // namespace

prometheus::ClientMetric& Scrape::add(const std::string& name, const std::string& help, prometheus::MetricType type,
                                      const Labels& labels) {
  const auto [place, is_new] = places_.try_emplace(name, families_.size());
  if (is_new) families_.push_back({name, help, type, {}});
  prometheus::ClientMetric& metric = families_[place->second].metric.emplace_back();
  for (const auto& [label, value] : labels) metric.label.push_back({label, value});
  return metric;
}

void Scrape::histogram(const std::string& name, const std::string& help, const Latency& took, const Labels& labels) {
  auto& histogram = add("sidestream_" + name, help, prometheus::MetricType::Histogram, labels).histogram;
  histogram.sample_count = took.count();
  histogram.sample_sum = seconds(took.sum_us());
  for (uint64_t us = kFirstUs; us <= kLastUs; us *= 2) histogram.bucket.push_back({took.below(us), seconds(us)});
  histogram.bucket.push_back({histogram.sample_count, std::numeric_limits<double>::infinity()});
}

void Scrape::process_gauge(const std::string& name, const std::string& help, double value) {
  add("process_" + name, help, prometheus::MetricType::Gauge, {}).gauge.value = value;
}

void Scrape::process_counter(const std::string& name, const std::string& help, double value) {
  add("process_" + name, help, prometheus::MetricType::Counter, {}).counter.value = value;
}

std::string Scrape::text() const { return prometheus::TextSerializer().Serialize(families_); }

}  // namespace sidestream::admin
