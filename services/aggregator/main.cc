#include "common/process/service_main.h"
#include "services/aggregator/app.h"

int main(int argc, char** argv) {
  return weir::ServiceMain<weir::aggregator::App, weir::aggregator::Config>(
      argc, argv, "aggregator", "Folds samples into exact windows and answers queries.");
}
